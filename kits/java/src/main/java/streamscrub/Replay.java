package streamscrub;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.locks.ReadWriteLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** The log so far as an index. Feed it every record in offset order, from the log's first one; any thread may ask. */
public final class Replay {
    private static final Set<String> PARTS = Set.of("adds", "removes", "ends", "requests", "rules", "starts", "seal");
    private static final Pattern NAME = Pattern.compile("[a-z0-9][a-z0-9-]*(@[a-z0-9+-]+)?");
    private static final int SEALS_KEPT = 8192; // for which the log's chain is kept

    private final ReadWriteLock lock = new ReentrantReadWriteLock();
    private final Map<String, RegisterReplay> registers = new TreeMap<>(); // `rules` among them
    private final TreeMap<Long, String> chains = new TreeMap<>(Map.of(-1L, Delta.GENESIS)); // of the log, by seal
    private final Map<String, Delta.Span> spans = new HashMap<>();
    private final Map<Long, Long> statements = new HashMap<>(); // by a seal's offset, that of its first part of starts
    private Corrupt corrupt;
    private String mark = "";

    /** A register as its last seal left it. {@code nextEnd} is null if no number ends. {@code areas} (first digits of the
     * numbers that its list covers) and {@code hashed} (how its numbers were hashed) are null if the seal has none. */
    public record Register(String name, String kind, long seq, String chain, long count, Instant effectiveAt, Instant nextEnd,
        JsonNode areas, JsonNode hashed) {}

    /** What was found at one position, which is as on stamps. */
    public record Found(long position, List<String> registers) {}

    /** Takes the next record. Throws {@link Corrupt} for the first fault, and from then on always. */
    public void take(ConsumerRecord<byte[], byte[]> record) {
        if (corrupt != null) {
            throw corrupt;
        }
        try {
            step(record);
        } catch (Corrupt fault) {
            throw corrupt = fault;
        } catch (RuntimeException fault) { // of a value that is none of the format's, too
            throw corrupt = new Corrupt(record.offset(), String.valueOf(fault.getMessage()));
        }
    }

    /** The offset of the last seal that was applied; -1 before the first. */
    public long position() {
        return locked(chains::lastKey);
    }

    /** The chain over all seals so far. */
    public String logChain() {
        return locked(() -> chains.lastEntry().getValue());
    }

    /** Whether parts wait for their seal. If so at the log's end, no index may be used. */
    public boolean isUnsealed() {
        return locked(() -> registers.values().stream().anyMatch(each -> !each.parts.isEmpty()));
    }

    /** All registers, by name. */
    public Map<String, Register> registers() {
        return locked(() -> {
            var found = new TreeMap<String, Register>();
            registers.forEach((name, each) -> {
                if (isSealed(name)) {
                    found.put(name, new Register(name, each.kind, each.seq, each.chain, each.count, each.effectiveAt,
                        each.nextEnd, each.areas, each.hashed));
                }
            });
            return found;
        });
    }

    /** Those of the registers that hold the number, all at one position. Throws {@link Unavailable} if a register is
     * unknown or hashed (it never counts as one without the number), and if the log is marked. */
    public Found holding(long number, Collection<String> names) {
        return locked(() -> {
            need(mark.isEmpty(), mark);
            var holding = new ArrayList<String>();
            for (var name : names) {
                var register = registers.get(name);
                // A register of 1970 was removed.
                need(isSealed(name) && register.effectiveAt.getEpochSecond() != 0, "no register " + name + " is on the log");
                need(register.hashed == null, "the numbers of register " + name + " are hashed");
                if (register.numbers.contains(number)) {
                    holding.add(name);
                }
            }
            return new Found(chains.lastKey(), holding);
        });
    }

    /** The index digest of schemas/README.md. It reads every number. */
    public String digest() {
        return locked(() -> {
            var digest = Delta.newSha256();
            var bytes = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
            registers.forEach((name, each) -> {
                if (isSealed(name)) {
                    digest.update((name + "\n").getBytes(StandardCharsets.UTF_8));
                    digest.update(bytes.putLong(0, each.numbers.getLongCardinality()).array());
                    each.numbers.forEach(number -> digest.update(bytes.putLong(0, number).array()));
                }
            });
            return HexFormat.of().formatHex(digest.digest());
        });
    }

    private boolean isSealed(String name) {
        return !name.equals(Delta.RULES) && registers.containsKey(name) && registers.get(name).seq > 0;
    }

    private static void need(boolean isSo, String otherwise) {
        if (!isSo) {
            throw new Unavailable(otherwise);
        }
    }

    private <T> T locked(java.util.function.Supplier<T> asked) {
        lock.readLock().lock();
        try {
            return asked.get();
        } finally {
            lock.readLock().unlock();
        }
    }

    private void step(ConsumerRecord<byte[], byte[]> record) {
        var headers = new HashMap<String, String>();
        for (var header : record.headers()) {
            Delta.need(headers.put(header.key(), string(header.value())) == null, "a header occurs twice");
        }
        String name = string(record.key()), kind = headers.getOrDefault("part", "");
        Delta.need(record.value() != null && PARTS.contains(kind), "a record that is neither part nor seal");
        Delta.need(name.equals(headers.get("register")) && NAME.matcher(name).matches(),
            "the key is no register's name, or not that of the header");
        var seq = count(headers.get("seq"));
        if (!kind.equals("seal")) {
            var sealed = Delta.sha256(new byte[0], record.value(), record.value().length);
            var digest = headers.getOrDefault("digest", "");
            var i = count(headers.get("i"));
            wait(name, new Delta.Part(record.offset(), kind, seq, i, record.value(), digest, sealed));
            return;
        }
        var register = registers.getOrDefault(name, new RegisterReplay());
        var delta = new Delta(record.value(), register);
        Delta.need(delta.string("register").equals(name) && delta.number("seq") == seq, "the seal and its headers differ");
        var isRules = name.equals(Delta.RULES);
        Delta.need(delta.string("register_kind").equals(Delta.RULES) == isRules, "the seal is of another register");
        checkParts(register.parts, delta);
        delta.read(register.parts);
        checkLog(delta, record.offset());
        if (isRules) {
            register.checkRules(delta);
        } else {
            register.check(delta);
        }
        seal(name, register, delta, record.offset());
    }

    private static String string(byte[] bytes) {
        return bytes == null ? "" : new String(bytes, StandardCharsets.UTF_8);
    }

    private static long count(String header) {
        Delta.need(header != null && header.matches("0|[1-9][0-9]{0,18}"), "a part or seal without its numbers");
        return Long.parseLong(header);
    }

    private void wait(String name, Delta.Part part) {
        lock.writeLock().lock();
        try {
            var parts = registers.computeIfAbsent(name, each -> new RegisterReplay()).parts;
            if (!parts.isEmpty() && (parts.get(0).seq() != part.seq() || part.i() == 0)) {
                throw new Corrupt(parts.get(0).offset(), "parts without their seal, then others");
            }
            parts.add(part);
        } finally {
            lock.writeLock().unlock();
        }
    }

    /** Checks that the parts are those that were sealed (checks 3 and 5). */
    private static void checkParts(List<Delta.Part> parts, Delta delta) {
        var sealed = delta.seal.path("parts");
        for (var i = 0; i < parts.size(); i++) {
            var part = parts.get(i);
            if (part.seq() != delta.number("seq") || part.i() != i
                || i < sealed.size() && !part.sealed().equals(sealed.get(i).asText())) {
                throw new Corrupt(part.offset(), "a part that is not the one that was sealed, or not in order");
            }
        }
        Delta.need(parts.size() == sealed.size(), "not as many parts are here as were sealed");
    }

    /** Checks what the publisher had read of the log as a whole (checks 9 and 10). */
    private void checkLog(Delta delta, long offset) {
        var read = delta.seal.path("read");
        Delta.need(read.path("upto").isIntegralNumber(), "the seal does not say what was read");
        var upto = read.get("upto").asLong();
        var known = chains.floorEntry(upto);
        Delta.need(known == null || known.getKey() == upto && known.getValue().equals(read.path("log_chain").asText()) && upto < offset,
            "its publisher had read other seals up to offset " + upto + ": a delta is missing");
        var stated = read.path("stated");
        Delta.need(!stated.isArray() || statements.getOrDefault(stated.path(1).asLong(), -1L) == stated.path(0).asLong(),
            "no statement of starts begins where it says");
        if (delta.starts.isEmpty()) {
            return;
        }
        Delta.need(spans.keySet().containsAll(delta.starts.keySet()), "it states the start of a register that is not here");
        spans.forEach((name, span) -> Delta.need(span.last() > upto || span.equals(delta.starts.get(name)),
            "it states that " + name + " begins elsewhere than it does"));
    }

    private void seal(String name, RegisterReplay register, Delta delta, long offset) {
        var first = register.parts.isEmpty() ? offset : register.parts.get(0).offset();
        spans.merge(name, new Delta.Span(first, offset), (old, now) -> delta.isFull() ? now : new Delta.Span(old.first(), offset));
        if (delta.firstStarts >= 0) {
            statements.put(offset, delta.firstStarts);
        }
        var before = chains.lastEntry().getValue().getBytes(StandardCharsets.US_ASCII);
        var own = delta.string("chain").getBytes(StandardCharsets.US_ASCII);
        lock.writeLock().lock();
        try {
            register.apply(delta);
            registers.put(name, register);
            chains.put(offset, Delta.sha256(before, own, own.length));
            if (chains.size() > SEALS_KEPT) {
                chains.pollFirstEntry();
            }
            if (name.equals(Delta.RULES)) {
                mark = switch (delta.string("reason")) {
                    case "moved" -> "the log was renewed as the topic " + delta.seal.path("source").path("name").asText();
                    case "renewing" -> "the log is being renewed, and not complete yet";
                    case "renewed", "taken-back" -> "";
                    default -> mark;
                };
            }
        } finally {
            lock.writeLock().unlock();
        }
    }
}
