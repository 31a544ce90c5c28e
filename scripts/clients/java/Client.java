import java.io.ByteArrayInputStream;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * Recognises a WAV file, or live audio from a pipe, on a pykaldi-server.
 *
 * <pre>
 * javac -d build *.java
 * java -cp build Client speech.wav
 * arecord -q -f S16_LE -r 16000 -t raw -d 10 | java -cp build Client --rate 16000 -
 * </pre>
 *
 * Final results go to standard output, a line each; partial results and all else go to standard error.
 */
final class Client {
    // Errors of the server are passed on as their status: 1, 2, 3, 5 or 9.
    private static final int EXIT_USAGE = 64, EXIT_NO_INPUT = 66, EXIT_NO_CONNECTION = 69, EXIT_NO_OUTPUT = 73; // as sysexits.h has them
    private static final String USAGE =
            """
            usage: java Client [--url URL] [--rate HZ] [--paced] [--model NAME] [--user-id ID]
                               [--state FILE] [--token TOKEN] [--patience S] FILE""";
    private static final List<String> OPTIONS =
            List.of("--url", "--rate", "--model", "--user-id", "--state", "--token", "--patience");

    /** What is sent, and its format. */
    private record Audio(Recognition.Format format, InputStream stream) {}

    public static void main(String[] arguments) throws InterruptedException {
        System.exit(run(arguments));
    }

    /** Returns the exit status. */
    private static int run(String[] arguments) throws InterruptedException {
        Map<String, String> options;
        double patienceS;
        try {
            options = parse(arguments);
            patienceS = Double.parseDouble(options.getOrDefault("--patience", "60"));
            if (options.containsKey("--rate")) Integer.parseInt(options.get("--rate"));
        } catch (IllegalArgumentException error) {
            System.err.println(USAGE + "\n" + error.getMessage());
            return EXIT_USAGE;
        }
        Audio audio;
        Object adaptationState = null;
        Path state = options.containsKey("--state") ? Path.of(options.get("--state")) : null;
        try {
            audio = open(options);
        } catch (IOException error) {
            System.err.println(options.get("FILE") + ": " + error.getMessage());
            return EXIT_NO_INPUT;
        }
        try {
            if (state != null && Files.exists(state)) adaptationState = Json.parse(Files.readString(state));
        } catch (IOException | IllegalArgumentException error) {
            System.err.println(state + ": " + error.getMessage());
            return EXIT_NO_INPUT;
        }
        Map<String, String> fields = new HashMap<>();
        for (String name : List.of("model", "user-id")) {
            if (options.containsKey("--" + name)) fields.put(name, options.get("--" + name));
        }
        String token = options.getOrDefault("--token", System.getenv().getOrDefault("PYKALDI_SERVER_TOKEN", ""));
        String url = options.getOrDefault("--url", "ws://localhost:8888/client/ws/speech");
        var recognition = new Recognition(url, audio.format, fields, token, adaptationState, patienceS);
        int status = 0;
        try {
            recognition.run(audio.stream, message -> show(message, state));
        } catch (Recognition.RefusedException error) {
            status = error.status;
            report(error, recognition);
        } catch (Recognition.ConnectionLostException error) {
            status = EXIT_NO_CONNECTION;
            report(error, recognition);
        } catch (IOException error) {
            status = EXIT_NO_INPUT;
            report(error, recognition);
        } catch (UncheckedIOException error) { // the results have been printed
            System.err.println(state + ": " + error.getMessage());
            status = EXIT_NO_OUTPUT;
        }
        return status;
    }

    private static Map<String, String> parse(String[] arguments) {
        Map<String, String> options = new HashMap<>();
        for (int i = 0; i < arguments.length; i++) {
            String[] parts = arguments[i].split("=", 2);
            if (arguments[i].equals("--paced")) options.put("--paced", "");
            else if (OPTIONS.contains(parts[0]) && parts.length == 2) options.put(parts[0], parts[1]);
            else if (OPTIONS.contains(parts[0]) && i + 1 < arguments.length) options.put(parts[0], arguments[++i]);
            else if (arguments[i].startsWith("--")) throw new IllegalArgumentException("unexpected " + arguments[i]);
            else if (options.put("FILE", arguments[i]) != null) throw new IllegalArgumentException("expected one FILE");
        }
        if (!options.containsKey("FILE")) throw new IllegalArgumentException("expected a FILE");
        return options;
    }

    private static Audio open(Map<String, String> options) throws IOException {
        String file = options.get("FILE");
        var raw = new Recognition.Format(Integer.parseInt(options.getOrDefault("--rate", "16000")), 1);
        if (file.equals("-")) return new Audio(raw, new FileInputStream(java.io.FileDescriptor.in));
        byte[] bytes = Files.readAllBytes(Path.of(file));
        Audio audio = options.containsKey("--rate") ? new Audio(raw, new ByteArrayInputStream(bytes)) : parseWav(bytes);
        return options.containsKey("--paced") ? new Audio(audio.format, new Paced(audio)) : audio;
    }

    /** Finds the format and the samples in a WAV file. */
    private static Audio parseWav(byte[] bytes) throws IOException {
        ByteBuffer buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        if (bytes.length < 12 || !name(bytes, 0).equals("RIFF") || !name(bytes, 8).equals("WAVE")) {
            throw new IOException("expected a WAV file");
        }
        Recognition.Format format = null;
        for (long at = 12; at + 8 <= bytes.length; ) {
            int start = (int) at + 8;
            long size = Integer.toUnsignedLong(buffer.getInt(start - 4));
            int present = (int) Math.min(size, bytes.length - start);
            if (name(bytes, start - 8).equals("fmt ") && present >= 16) {
                int kind = buffer.getShort(start), bits = buffer.getShort(start + 14);
                if ((kind != 1 && kind != -2) || bits != 16) { // PCM, plain and extensible
                    throw new IOException("expected samples of 16 bits, found " + bits + ", kind " + kind);
                }
                format = new Recognition.Format(buffer.getInt(start + 4), buffer.getShort(start + 2));
            } else if (name(bytes, start - 8).equals("data") && format != null) {
                return new Audio(format, new ByteArrayInputStream(bytes, start, present));
            }
            at = start + size + size % 2;
        }
        throw new IOException("expected a WAV file with chunks fmt and data");
    }

    private static String name(byte[] bytes, int at) {
        return new String(bytes, at, 4, StandardCharsets.ISO_8859_1);
    }

    /** A recording that is read no faster than it is spoken, a tenth of a second at a time. */
    private static final class Paced extends InputStream {
        private final Audio audio;
        private final long beganNs = System.nanoTime();
        private long place = 0;

        Paced(Audio audio) {
            this.audio = audio;
        }

        @Override
        public int read() {
            throw new UnsupportedOperationException("audio is read in pieces");
        }

        @Override
        public int read(byte[] bytes, int offset, int length) throws IOException {
            int wanted = (int) Math.min(length, audio.format.bytesOf(0.1));
            int found = audio.stream.read(bytes, offset, wanted);
            place += Math.max(0, found);
            long dueNs = beganNs + (long) (1e9 * audio.format.secondsOf(place));
            try {
                Thread.sleep(Math.max(0, (dueNs - System.nanoTime()) / 1_000_000));
            } catch (InterruptedException error) {
                throw new IOException("interrupted", error);
            }
            return found;
        }
    }

    /** Prints what is worth it, and saves what was learned of the speaker. */
    private static void show(Map<String, Object> message, Path state) {
        if (message.get("result") instanceof Map<?, ?> result) {
            var best = (Map<?, ?>) ((List<?>) result.get("hypotheses")).get(0);
            if ((Boolean) result.get("final")) System.out.println(best.get("transcript"));
            else System.err.println("... " + best.get("transcript"));
        } else if (message.get("queue") instanceof Double place && place > 0) {
            System.err.println("waiting: place " + place.intValue() + " in line");
        } else if (message.containsKey("interrupted")) {
            System.err.printf(
                    Locale.ROOT,
                    "interrupted: %s; %.2f s of audio will be sent again%n",
                    message.get("interrupted"),
                    message.get("resend-s"));
        } else if (message.containsKey("resumed")) {
            System.err.println("resumed");
        } else if (message.containsKey("adaptation_state") && state != null) {
            try {
                Files.writeString(state, Json.write(message.get("adaptation_state")));
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }

    private static void report(Exception error, Recognition recognition) {
        System.err.printf(
                Locale.ROOT, "%s; recognised up to %.2f s%n", error.getMessage(), recognition.recognisedS());
    }
}
