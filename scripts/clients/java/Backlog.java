import java.io.IOException;
import java.io.InputStream;
import java.util.Arrays;

/**
 * Audio that has been recorded and not yet been recognised. Places in it are counted in bytes from its start.
 *
 * <p>One thread fills it, another sends what is in it, and a third forgets what has been recognised.
 */
final class Backlog {
    private static final int PIECE_BYTES = 8192;

    private byte[] audio = new byte[0];
    private int head = 0; // in `audio`: what is kept is from here
    private int tail = 0; // to here
    private long start = 0; // place of the head
    private boolean isComplete = false;
    private IOException failure;

    /** Takes in all audio as it comes, also while there is no connection. */
    void fill(InputStream source) {
        byte[] piece = new byte[PIECE_BYTES];
        IOException problem = null;
        try {
            for (int length; (length = source.read(piece)) >= 0; ) add(piece, length);
        } catch (IOException error) {
            problem = error;
        }
        complete(problem);
    }

    private synchronized void add(byte[] piece, int length) {
        if (tail + length > audio.length) {
            int kept = tail - head;
            byte[] larger = new byte[2 * (kept + length)];
            System.arraycopy(audio, head, larger, 0, kept);
            audio = larger;
            head = 0;
            tail = kept;
        }
        System.arraycopy(piece, 0, audio, tail, length);
        tail += length;
        notifyAll();
    }

    private synchronized void complete(IOException problem) {
        failure = problem;
        isComplete = true;
        notifyAll();
    }

    synchronized long start() {
        return start;
    }

    /** How much audio is kept. */
    synchronized int size() {
        return tail - head;
    }

    /** The audio from a place on, or a piece of it; waits until there is some. Empty at the end. */
    synchronized byte[] read(long place) throws InterruptedException {
        while (place - start >= tail - head && !isComplete) wait();
        int from = head + (int) (place - start);
        return Arrays.copyOfRange(audio, from, Math.min(from + PIECE_BYTES, tail));
    }

    /** Drops the audio before a place: it has been recognised. */
    synchronized void forget(long place) {
        if (place <= start) return;
        head += (int) (place - start);
        start = place;
    }

    /** Throws what the source of the audio has thrown. */
    synchronized void check() throws IOException {
        if (failure != null) throw failure;
    }
}
