import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.net.http.WebSocketHandshakeException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.stream.Collectors;

/**
 * Live speech recognition by a pykaldi-server, over a connection that may break: copy this, {@link Backlog} and {@link Json}
 * into your program.
 *
 * <pre>
 * var recognition = new Recognition(url, new Recognition.Format(16000, 1), Map.of(), "", null, 60);
 * recognition.run(audio, message -> System.out.println(message));
 * </pre>
 *
 * Audio is kept in memory until it has been recognised. When the connection is lost within an utterance, what was already
 * final stays, and all audio after it is sent again over the next connection.
 *
 * <p>The messages are described in docs/protocol.md of pykaldi-server.
 */
final class Recognition {
    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(10);
    private static final long FIRST_WAIT_MS = 500, LONGEST_WAIT_MS = 8000; // between two attempts to connect again
    private static final double WORD_DELAY_S = 2; // an earlier word before the position is in a partial result
    private static final long PING_S = 4, SILENT_S = 20; // a server that does not answer pings for so long is gone
    private static final int NO_RECOGNISER = 9;

    /** Raw audio of signed 16-bit samples, little-endian, channels interleaved. */
    record Format(int rateHz, int channels) {
        String contentType() {
            return "audio/x-raw,format=S16LE,rate=" + rateHz + ",channels=" + channels;
        }

        /** How many bytes last so long; whole samples of every channel. */
        long bytesOf(double seconds) {
            return Math.round(seconds * rateHz) * 2 * channels;
        }

        double secondsOf(long bytes) {
            return bytes / (2.0 * channels * rateHz);
        }
    }

    /** The server has ended the request with an error: its number, see "Errors" in docs/protocol.md. */
    static final class RefusedException extends Exception {
        final int status;

        RefusedException(int status, Object message) {
            super("status " + status + ": " + message);
            this.status = status;
        }
    }

    /** There is no connection to the server; the text says why. */
    static final class ConnectionLostException extends Exception {
        ConnectionLostException(String reason) {
            super(reason);
        }
    }

    private final HttpClient client = HttpClient.newBuilder().connectTimeout(CONNECT_TIMEOUT).build();
    private final String address;
    private final Format format;
    private final String token;
    private final Object adaptationState;
    private final double patienceS;
    private final Backlog backlog = new Backlog();
    private Outage outage; // null while the server answers

    /**
     * @param url address of the server, such as ws://localhost:8888/client/ws/speech
     * @param format of the audio
     * @param fields more fields of the address, such as "model", "user-id" and options of the request
     * @param token shown to the server; "" for none
     * @param adaptationState what an earlier request of the same speaker had in this field of its last message; may be null
     * @param patienceS how long to try to connect again before giving up
     */
    Recognition(
            String url, Format format, Map<String, String> fields, String token, Object adaptationState, double patienceS) {
        var asked = new LinkedHashMap<>(Map.of("content-type", format.contentType(), "queue", "true", "positions", "true"));
        asked.putAll(fields);
        String query = asked.entrySet().stream()
                .map(field -> field.getKey() + "=" + URLEncoder.encode(field.getValue(), StandardCharsets.UTF_8))
                .collect(Collectors.joining("&"));
        this.address = url + (url.contains("?") ? "&" : "?") + query;
        this.format = format;
        this.token = token;
        this.adaptationState = adaptationState;
        this.patienceS = patienceS;
    }

    /** Up to where the audio has been recognised, in seconds; all results for it have come. */
    double recognisedS() {
        return format.secondsOf(backlog.start());
    }

    /**
     * Sends audio as it comes and hands over the server's messages as they come, until all has been recognised; may be
     * called once.
     *
     * <p>Where the connection is lost, there is also a message with "interrupted", the reason, and "resend-s", seconds of
     * audio; and one with "resumed" when the server answers again. Times of results count from the start of the audio all
     * along.
     *
     * @param audio raw audio, read by a thread of its own and sent at the pace at which it comes
     * @param listener takes each message, on the thread that calls this method
     * @throws RefusedException the server has sent an error
     * @throws ConnectionLostException the server could not be reached, at the start or for patienceS
     * @throws IOException the audio could not be read to its end; what was read has been recognised
     */
    void run(InputStream audio, Consumer<Map<String, Object>> listener)
            throws RefusedException, ConnectionLostException, IOException, InterruptedException {
        startThread(() -> backlog.fill(audio));
        Connection connection = connect();
        while (true) {
            String reason;
            try {
                exchange(connection, listener);
                backlog.check();
                return;
            } catch (RefusedException error) {
                if (outage == null || error.status != NO_RECOGNISER) throw error; // workers come after their server
                reason = error.getMessage();
            } catch (ConnectionLostException error) {
                reason = error.getMessage();
            }
            if (outage == null) {
                outage = new Outage();
                listener.accept(Map.of("interrupted", reason, "resend-s", format.secondsOf(backlog.size())));
            }
            connection = connectAgain(reason);
        }
    }

    /** A time without the server. */
    private final class Outage {
        private final long givenUpAtMs = System.currentTimeMillis() + (long) (1000 * patienceS);
        private long waitMs = FIRST_WAIT_MS;

        /** Waits before the next attempt to connect, each time longer; false if patience is at an end. */
        boolean pause() throws InterruptedException {
            if (System.currentTimeMillis() + waitMs > givenUpAtMs) return false;
            Thread.sleep(waitMs);
            waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS);
            return true;
        }
    }

    private Connection connectAgain(String reason) throws ConnectionLostException, InterruptedException {
        while (outage.pause()) {
            try {
                return connect();
            } catch (ConnectionLostException error) {
                reason = error.getMessage();
            }
        }
        throw new ConnectionLostException(reason + "; given up after " + patienceS + " s");
    }

    private Connection connect() throws ConnectionLostException, InterruptedException {
        Connection connection = new Connection();
        WebSocket.Builder builder = client.newWebSocketBuilder().connectTimeout(CONNECT_TIMEOUT);
        if (!token.isEmpty()) builder.header("Authorization", "Bearer " + token);
        try {
            connection.socket = builder.buildAsync(URI.create(address), connection).get();
            return connection;
        } catch (IllegalArgumentException error) { // it is no address
            throw new ConnectionLostException("cannot connect: " + error.getMessage());
        } catch (ExecutionException error) {
            Throwable cause = error.getCause();
            String reason = cause instanceof WebSocketHandshakeException refused
                    ? "the server answers with HTTP status " + refused.getResponse().statusCode()
                    : cause.getMessage() != null ? cause.getMessage() : cause.getClass().getSimpleName();
            throw new ConnectionLostException("cannot connect: " + reason);
        }
    }

    /** Sends the backlog over one connection and hands over what comes, until all has been recognised. */
    private void exchange(Connection connection, Consumer<Map<String, Object>> listener)
            throws RefusedException, ConnectionLostException, InterruptedException {
        long first = backlog.start();
        boolean isSpeaking = false; // a partial result has come since the last final one
        Thread sender = startThread(() -> send(connection, first));
        try {
            while (true) {
                Map<String, Object> message = connection.receive();
                if (message == null) return;
                int status = ((Double) message.get("status")).intValue();
                if (status != 0) throw new RefusedException(status, message.get("message"));
                if (message.get("position") instanceof Map<?, ?> position && !isSpeaking) { // silence, so far
                    backlog.forget(first + format.bytesOf((Double) position.get("seconds") - WORD_DELAY_S));
                }
                if (message.get("result") instanceof Map<?, ?> result) {
                    isSpeaking = !(Boolean) result.get("final");
                    if (!isSpeaking) backlog.forget(first + format.bytesOf((Double) message.get("total-length")));
                    for (String time : List.of("segment-start", "total-length")) {
                        message.computeIfPresent(time, (name, value) -> (Double) value + format.secondsOf(first));
                    }
                }
                if (outage != null) listener.accept(Map.of("resumed", true));
                outage = null;
                listener.accept(message);
            }
        } finally {
            sender.interrupt();
            connection.socket.abort();
        }
    }

    private void send(Connection connection, long place) {
        WebSocket socket = connection.socket;
        try {
            if (adaptationState != null) {
                socket.sendText(Json.write(Map.of("adaptation_state", adaptationState)), true).join();
            }
            for (byte[] piece; (piece = backlog.read(place)).length > 0; place += piece.length) {
                socket.sendBinary(ByteBuffer.wrap(piece), true).join();
            }
            connection.allSent = true;
            socket.sendText("EOS", true).join();
        } catch (InterruptedException | CompletionException error) {
            // The connection has ended, of which the receiver hears by itself.
        }
    }

    /** One WebSocket, and the messages that have come over it. */
    private static final class Connection implements WebSocket.Listener {
        WebSocket socket;
        volatile boolean allSent = false;

        /** A message, or how the connection has ended. */
        private record Item(Map<String, Object> message, int closeCode, String reason) {}

        private final BlockingQueue<Item> inbox = new LinkedBlockingQueue<>();
        private final StringBuilder text = new StringBuilder();
        private volatile long heardAtS = System.nanoTime() / 1_000_000_000;

        /** The next message; null after the last one. */
        Map<String, Object> receive() throws ConnectionLostException, InterruptedException {
            while (true) {
                Item item = inbox.poll(PING_S, TimeUnit.SECONDS);
                if (item == null) {
                    ping();
                } else if (item.message != null) {
                    return item.message;
                } else if (item.closeCode == WebSocket.NORMAL_CLOSURE && allSent) {
                    return null;
                } else {
                    throw new ConnectionLostException("connection lost: " + item.reason);
                }
            }
        }

        private void ping() throws ConnectionLostException {
            if (System.nanoTime() / 1_000_000_000 - heardAtS > SILENT_S) {
                throw new ConnectionLostException("the server has given no sign of life for " + SILENT_S + " s");
            }
            socket.sendPing(ByteBuffer.allocate(0)); // where it fails, the listener hears of it
        }

        private void heard(WebSocket socket) {
            heardAtS = System.nanoTime() / 1_000_000_000;
            socket.request(1);
        }

        @SuppressWarnings("unchecked")
        private static Item parse(String text) {
            try {
                var message = (Map<String, Object>) Json.parse(text);
                if (message.get("status") instanceof Double) return new Item(message, 0, "");
            } catch (IllegalArgumentException | ClassCastException error) {
                // Not a message of this protocol, as below.
            }
            String found = text.substring(0, Math.min(80, text.length()));
            return new Item(null, 0, "expected a JSON object with status, found " + found);
        }

        @Override
        public CompletionStage<?> onText(WebSocket socket, CharSequence data, boolean isLast) {
            text.append(data);
            if (isLast) {
                inbox.add(parse(text.toString()));
                text.setLength(0);
            }
            heard(socket);
            return null;
        }

        @Override
        public CompletionStage<?> onPing(WebSocket socket, ByteBuffer message) {
            heard(socket);
            return null;
        }

        @Override
        public CompletionStage<?> onPong(WebSocket socket, ByteBuffer message) {
            heard(socket);
            return null;
        }

        @Override
        public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
            inbox.add(new Item(null, code, reason.isEmpty() ? "code " + code : reason));
            return null;
        }

        @Override
        public void onError(WebSocket socket, Throwable error) {
            inbox.add(new Item(null, 0, String.valueOf(error.getMessage())));
        }
    }

    private static Thread startThread(Runnable task) {
        Thread thread = new Thread(task);
        thread.setDaemon(true); // one that waits for audio does not keep the program from ending
        thread.start();
        return thread;
    }
}
