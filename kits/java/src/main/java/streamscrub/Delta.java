package streamscrub;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import org.roaringbitmap.longlong.Roaring64NavigableMap;

/** The seal of a delta, and what its parts hold. Every fault is an IllegalArgumentException. */
final class Delta {
    static final ObjectMapper JSON = new ObjectMapper();
    static final String RULES = "rules", GENESIS = "0".repeat(64);
    private static final byte[] CHAIN = ",\"chain\":\"".getBytes(StandardCharsets.US_ASCII);
    private static final long END_MAX = 253_402_300_799L; // 9999-12-31T23:59:59Z

    /** One record before the seal. {@code sealed}: the SHA-256 of its value. */
    record Part(long offset, String kind, long seq, long i, byte[] value, String digest, String sealed) {}

    /** Where a register is on the log: the first record of its latest full set, and its last seal. */
    record Span(long first, long last) {}

    final JsonNode seal;
    final Roaring64NavigableMap adds = Numbers.none(), removes = Numbers.none(), ending = Numbers.none();
    final Set<String> texts = new HashSet<>();
    final SortedMap<String, Span> starts = new TreeMap<>();
    Instant nextStated;
    long firstStarts = -1;

    /** Checks a seal against the one before it (checks 2 to 4). */
    Delta(byte[] value, RegisterReplay before) {
        try {
            seal = JSON.readTree(value);
        } catch (IOException error) {
            throw new IllegalArgumentException("the seal is not a seal's JSON");
        }
        need(number("format") == 1, "the format's version is unknown here");
        var at = lastIndexOf(value, CHAIN);
        var end = at < 0 ? "" : text(value, at, value.length);
        need(end.equals(",\"chain\":\"" + string("chain") + "\"}"), "the seal does not end with its chain");
        need(number("seq") == before.seq + 1, "its sequence does not follow the last one: a delta is missing");
        var chain = sha256(before.chain.getBytes(StandardCharsets.US_ASCII), value, at);
        need(string("previous").equals(before.chain) && string("chain").equals(chain), "the chain is broken");
        need(before.kind == null || before.kind.equals(string("register_kind")), "the seal is of another register");
    }

    /** Decodes the parts, and checks that they hold as many of everything as the seal says. */
    void read(List<Part> parts) {
        long requests = 0;
        var lines = new StringBuilder();
        for (var each : parts) {
            switch (each.kind) {
                case "adds" -> Numbers.unite(adds, each.value);
                case "removes" -> Numbers.unite(removes, each.value);
                case "ends" -> readEnds(ByteBuffer.wrap(each.value).order(ByteOrder.LITTLE_ENDIAN));
                case "requests" -> requests += text(each.value, 0, each.value.length).chars().filter(c -> c == '\n').count();
                case "starts" -> {
                    firstStarts = firstStarts < 0 ? each.offset : firstStarts;
                    lines.append(text(each.value, 0, each.value.length));
                }
                default -> {
                    var digits = each.digest.substring(each.digest.indexOf('@') + 1);
                    need(!digits.isEmpty() && each.sealed.startsWith(digits), "a rule's text has another digest");
                    need(texts.add(each.digest), "two parts are of the same rule");
                }
            }
        }
        readStarts(lines.toString());
        var held = List.of(adds.getLongCardinality(), removes.getLongCardinality(), ending.getLongCardinality(), requests,
            (long) starts.size());
        var sealed = List.of(number("adds"), number("removes"), number("ends"), number("requests"), number("stated"));
        need(held.equals(sealed), "the parts do not hold what the seal counts");
    }

    private void readEnds(ByteBuffer value) {
        for (long before = 0; value.hasRemaining(); ) {
            need(value.remaining() >= 12, "a part of ends is cut off");
            long end = value.getLong(), length = Integer.toUnsignedLong(value.getInt());
            need(before <= end && end <= END_MAX && length <= value.remaining(), "a part of ends is not in order, or cut off");
            var bytes = new byte[(int) length];
            value.get(bytes);
            Numbers.unite(ending, bytes);
            var moment = Instant.ofEpochSecond(end);
            nextStated = end > 0 && (nextStated == null || moment.isBefore(nextStated)) ? moment : nextStated;
            before = end;
        }
    }

    private void readStarts(String lines) {
        need(lines.isEmpty() || lines.endsWith("\n"), "the statement of starts is cut off");
        var before = "";
        for (var line : lines.lines().toList()) {
            JsonNode entry;
            try {
                entry = JSON.readTree(line);
            } catch (IOException error) {
                throw new IllegalArgumentException("a line of the statement of starts cannot be read");
            }
            var name = entry.path(0).asText();
            var span = new Span(entry.path(1).asLong(-1), entry.path(2).asLong(-1));
            need(before.compareTo(name) < 0 && 0 <= span.first && span.first <= span.last, "the statement of starts is not in order");
            starts.put(name, span);
            before = name;
        }
    }

    boolean isFull() {
        return string("kind").equals("full");
    }

    long number(String name) {
        need(seal.path(name).isIntegralNumber(), "the seal has no number " + name);
        return seal.get(name).asLong();
    }

    String string(String name) {
        return seal.path(name).asText();
    }

    /** The moment of that name; null if the seal says null. */
    Instant moment(String name) {
        return seal.path(name).isNull() ? null : OffsetDateTime.parse(string(name)).toInstant();
    }

    static void need(boolean isSo, String otherwise) {
        if (!isSo) {
            throw new IllegalArgumentException(otherwise);
        }
    }

    static String text(byte[] value, int from, int to) {
        return new String(value, from, to - from, StandardCharsets.UTF_8);
    }

    /** The SHA-256, in hex, of {@code first} and then the first {@code length} bytes of {@code second}. */
    static String sha256(byte[] first, byte[] second, int length) {
        var digest = newSha256();
        digest.update(first);
        digest.update(second, 0, length);
        return HexFormat.of().formatHex(digest.digest());
    }

    static MessageDigest newSha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }

    private static int lastIndexOf(byte[] value, byte[] sought) {
        for (var at = value.length - sought.length; at >= 0; at--) {
            if (java.util.Arrays.equals(value, at, at + sought.length, sought, 0, sought.length)) {
                return at;
            }
        }
        return -1;
    }
}
