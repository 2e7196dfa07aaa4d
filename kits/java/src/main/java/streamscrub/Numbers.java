package streamscrub;

import java.io.ByteArrayInputStream;
import java.io.DataInputStream;
import java.io.IOException;
import org.roaringbitmap.longlong.Roaring64NavigableMap;

/** Sets of numbers. */
final class Numbers {
    private Numbers() {}

    static Roaring64NavigableMap none() {
        return new Roaring64NavigableMap();
    }

    /** Adds the portable set in these bytes, of which {@code whole} may hold no number yet. */
    static void unite(Roaring64NavigableMap whole, byte[] bytes) {
        var set = none();
        try {
            var in = new ByteArrayInputStream(bytes);
            set.deserializePortable(new DataInputStream(in));
            Delta.need(in.available() == 0, "a part is not a portable 64-bit roaring bitmap");
        } catch (IOException error) {
            throw new IllegalArgumentException("a part is not a portable 64-bit roaring bitmap");
        }
        Delta.need(common(whole, set) == 0, "two parts hold the same number");
        whole.or(set);
    }

    /** How many numbers are in both. */
    static long common(Roaring64NavigableMap one, Roaring64NavigableMap other) {
        var isLess = one.getLongCardinality() < other.getLongCardinality();
        var both = none();
        both.or(isLess ? one : other);
        both.and(isLess ? other : one);
        return both.getLongCardinality();
    }
}
