package streamscrub;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.PriorityQueue;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.InvalidOffsetException;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** The leads that one member of a group may call now, without end: see docs/dialler.md, which says what is promised. Any
 * thread may call its methods. */
public final class Allowed implements Iterator<Lead>, Iterable<Lead>, AutoCloseable {
    /** What a dialler sets. */
    public static final class Settings {
        final String group;
        final Map<String, Object> properties;
        /** Topics of leads. */
        public List<String> allowed = List.of("prospects.allowed");
        /** The topic of recalls. */
        public String recalled = "prospects.recalled";
        /** The channel of this dialler's calls. */
        public String channel = "voice";
        /** Leads with an older verdict are skipped; at most the scrubber's recall.keep_days. */
        public Duration maxAge = Duration.ofDays(30);
        /** Nothing is handed out if `stream-scrub recall` has not shown for longer that it works. */
        public Duration lagMax = Duration.ofSeconds(30);
        /** "live", or "none" if no recall runs: then none is waited for. */
        public String recall = "live";
        /** Where partitions with leads and without a committed offset start: "beginning" or "end". Empty: they are not read. */
        public String start = "";
        /** By country, as in FR or US-FL: where a day ends. Any other country's day ends where it ends first on earth. */
        public Map<String, ZoneId> zones = Map.of();

        /** @param properties those of Kafka's client that name the brokers, and how to reach them */
        public Settings(String group, Map<String, Object> properties) {
            this.group = group;
            this.properties = Map.copyOf(properties);
        }
    }

    private static final long SEEN_NS = 1_000_000_000;
    private static final Duration POLL = Duration.ofMillis(100);
    private static final Duration UNKNOWN_FOR = Duration.ofSeconds(1);
    private static final int OUT_MAX = 100_000, WAITING_MAX = 500; // as many as OUT_MAX may be postponed
    private static final ZoneId FIRST_ZONE = ZoneOffset.ofHours(14);

    /** A lead that is not done. {@code offsets}: its own, and those of the records that renewed its verdict. */
    private static final class Open {
        Lead lead;
        boolean isOut;
        Instant notBefore; // while it is postponed
        final List<Long> offsets = new ArrayList<>();
    }

    /** What is not done of one partition. {@code begun}: an earlier record is not known to be done. */
    private static final class Progress {
        final TreeMap<Long, Open> open = new TreeMap<>();
        /** Ended before they were handed out, the last ones: a renewal of one is a lead of its own. */
        final TreeSet<Long> lapsed = new TreeSet<>();
        long begun = -1, upto = -1;
        boolean isChanged;

        long offset() {
            return open.isEmpty() ? upto : open.firstKey();
        }
    }

    private final Settings settings;
    private final Recalls recalls;
    private final KafkaConsumer<byte[], byte[]> leads, notices;
    private final TopicEnd end;
    private final List<Thread> threads =
        List.of(new Thread(this::read, "leads"), new Thread(this::follow, "recalls"));
    private final Map<TopicPartition, Progress> progress = new HashMap<>();
    private final Deque<Open> waiting = new ArrayDeque<>();
    private final PriorityQueue<Open> postponed = new PriorityQueue<>(Comparator.comparing((Open each) -> each.notBefore));
    private final Map<String, Long> skipped = new HashMap<>();
    private int out;
    private Long seenAt; // every recall that was committed then is known
    private String trouble = ""; // why recalls cannot be read now
    /** Partitions without a committed offset that are not read, because no start was chosen. */
    private final Set<TopicPartition> unplaced = new HashSet<>();
    private RuntimeException failure; // for good
    private volatile boolean isClosing;

    public Allowed(Settings settings) {
        if (!Set.of("live", "none").contains(settings.recall)) {
            throw new IllegalArgumentException("recall is " + settings.recall + ": set \"live\", or \"none\" if no recall runs");
        }
        if (!Set.of("", "beginning", "end").contains(settings.start)) {
            throw new IllegalArgumentException("start is " + settings.start + ": set \"beginning\" or \"end\", or leave it empty");
        }
        this.settings = settings;
        recalls = new Recalls(settings.maxAge);
        end = new TopicEnd(settings.recalled, settings.properties);
        notices = consumer(Map.of("auto.offset.reset", "earliest"));
        leads = consumer(Map.of("auto.offset.reset", "none", "group.id", settings.group));
        leads.subscribe(settings.allowed, new Listener());
        for (var thread : threads) {
            thread.setDaemon(true);
            thread.start();
        }
    }

    private KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> own) {
        var properties = new HashMap<>(settings.properties);
        properties.putAll(Map.of("isolation.level", "read_committed", "enable.auto.commit", false));
        properties.putAll(own);
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    @Override
    public Iterator<Lead> iterator() {
        return this;
    }

    @Override
    public boolean hasNext() {
        return !isClosing;
    }

    /** The next lead to call. Waits as long as it takes. Throws {@link Corrupt} if a recall cannot be read. */
    @Override
    public synchronized Lead next() {
        while (!isClosing) {
            if (isSeen() && !recalls.isSuspended() && !isSilent(progress.keySet())) {
                var lead = take();
                if (lead != null) {
                    return lead;
                }
            }
            pause();
        }
        throw new NoSuchElementException("closed");
    }

    /** The lead is done. Until then it comes again after a crash, or from another member of the group. */
    public synchronized void ack(Lead lead) {
        var open = open(lead);
        if (open != null) {
            waiting.remove(open);
            if (!open.isOut) {
                postponed.remove(open);
            }
            takeBack(open);
            finish(lead.partition(), open);
        }
    }

    /** Whether a lead that was handed out may be called now: ask just before the call. Acknowledge what was called, and postpone
     * after a no with {@code notBefore}. Every other no has taken the lead back: it is handed out again if it may be called
     * later, and an acknowledgement would lose it. Throws {@link Corrupt} if a recall cannot be read. */
    public synchronized MayDial mayDial(Lead lead) {
        var isSeen = isSeen();
        var now = Instant.now();
        var open = open(lead);
        if (open == null || !open.isOut) {
            return new MayDial(false, "not-held", null);
        }
        var numbers = left(open.lead);
        var why = fault(open.lead);
        var opens = now;
        if (why.isEmpty()) {
            try {
                opens = open.lead.stamp().nextCall(now);
                why = opens == null ? "outside-hours" : "";
            } catch (IllegalArgumentException error) {
                why = "not-allowed";
            }
        }
        if (!why.isEmpty() || numbers.isEmpty()) { // for good
            why = why.isEmpty() ? "recalled" : why;
            takeBack(open);
            skip(lead.partition(), open, why);
            return new MayDial(false, why, null);
        }
        if (!numbers.equals(open.lead.numbers()) || recalls.isSuspended()) { // to be handed out again
            takeBack(open);
            waiting.add(open);
            return new MayDial(false, recalls.isSuspended() ? "suspended" : "recalled", null);
        }
        if (!numbers.equals(lead.numbers())) { // of an earlier hand-out
            return new MayDial(false, "recalled", null);
        }
        if (opens.isAfter(now)) {
            return new MayDial(false, "outside-hours", opens);
        }
        if (!isSeen || isSilent(Set.of(lead.partition()))) {
            return new MayDial(false, "unknown", now.plus(UNKNOWN_FOR));
        }
        return new MayDial(true, "", null);
    }

    /** Hands the lead out again at that moment. It stays open until then, and comes at once after a restart. Ignored for a lead
     * that is not the caller's any more. */
    public synchronized void postpone(Lead lead, Instant notBefore) {
        var open = open(lead);
        if (open != null && open.isOut && open.lead.numbers().equals(lead.numbers())) {
            takeBack(open);
            open.notBefore = notBefore;
            postponed.add(open);
        }
    }

    private void takeBack(Open open) {
        out -= open.isOut ? 1 : 0;
        open.isOut = false;
    }

    /** Why recalls cannot be read now, so that nothing is handed out, or why some partitions are not read; empty if all is
     * well. */
    public synchronized String trouble() {
        if (!trouble.isEmpty() || unplaced.isEmpty()) {
            return trouble;
        }
        return "the group has no committed offset in " + unplaced + ", or brokers lost leads there. Either this is its first start,"
            + " or Kafka expired its offsets, and leads that were acknowledged would come again. Set start for one start:"
            + " \"beginning\" hands out every lead that is still good, \"end\" only those that come from now on";
    }

    /** How many leads ended without a call, by cause. */
    public synchronized Map<String, Long> skipped() {
        return Map.copyOf(skipped);
    }

    /** Commits what is acknowledged, and leaves the group. */
    @Override
    public void close() {
        isClosing = true;
        try {
            for (var thread : threads) {
                thread.join();
            }
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
        end.close();
    }

    private Open open(Lead lead) {
        var there = progress.get(lead.partition());
        return there == null ? null : there.open.get(lead.offset());
    }

    private boolean isSeen() {
        if (failure != null) {
            throw failure;
        }
        return seenAt != null && System.nanoTime() - seenAt <= SEEN_NS;
    }

    private boolean isSilent(Collection<TopicPartition> partitions) {
        return settings.recall.equals("live") && recalls.isSilent(partitions, settings.lagMax);
    }

    private void pause() {
        try {
            wait(20);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            isClosing = true;
        }
    }

    private Lead take() {
        while (!postponed.isEmpty() && !postponed.peek().notBefore.isAfter(Instant.now())) {
            waiting.addFirst(postponed.poll());
        }
        while (!waiting.isEmpty()) {
            var open = waiting.poll();
            var numbers = left(open.lead);
            var why = fault(open.lead);
            if (!why.isEmpty() || numbers.isEmpty()) {
                skip(open.lead.partition(), open, why.isEmpty() ? "recalled" : why);
                continue;
            }
            if (++out > OUT_MAX) {
                throw new IllegalStateException(OUT_MAX + " leads are handed out: acknowledge each that is done");
            }
            var old = open.lead;
            open.lead = new Lead(numbers, old.key(), old.value(), old.stamp(), old.partition(), old.offset());
            open.isOut = true;
            return open.lead;
        }
        return null;
    }

    /** Why a lead may never be called any more, whatever was recalled; empty if nothing is wrong. */
    private String fault(Lead lead) {
        var stamp = lead.stamp();
        var now = Instant.now();
        if (!stamp.allowed() || lead.numbers().isEmpty()) {
            return "not-allowed";
        }
        if (!stamp.channel().equals(settings.channel)) {
            return "other-channel";
        }
        var rules = stamp.rules().isEmpty() ? Set.of("") : stamp.rules();
        if (stamp.until() != null && rules.stream().anyMatch(rule -> LocalDate.ofInstant(now, zone(rule)).isAfter(stamp.until()))) {
            return "past-until";
        }
        return stamp.at().plus(settings.maxAge).isBefore(now) ? "too-old" : "";
    }

    private ZoneId zone(String rule) {
        return settings.zones.getOrDefault(rule.split("@")[0].toUpperCase(Locale.ROOT), FIRST_ZONE);
    }

    /** The numbers that were not recalled; none if one was, unless the stamp says that some are enough. */
    private List<String> left(Lead lead) {
        var left = lead.numbers().stream().filter(number -> !recalls.stop(number, lead.stamp())).toList();
        return lead.stamp().isPartial() || left.size() == lead.numbers().size() ? left : List.of();
    }

    private void skip(TopicPartition partition, Open open, String why) {
        skipped.merge(why, 1L, Long::sum);
        finish(partition, open);
        if (Set.of("past-until", "too-old", "outside-hours").contains(why)) {
            var lapsed = progress.get(partition).lapsed;
            lapsed.addAll(open.offsets);
            while (lapsed.size() > OUT_MAX) {
                lapsed.pollFirst();
            }
        }
    }

    private void finish(TopicPartition partition, Open open) {
        var there = progress.get(partition);
        open.offsets.forEach(there.open::remove);
        there.isChanged = true;
    }

    private void read() {
        try (leads) { // the listener commits
            while (!isClosing) {
                try {
                    stepLeads();
                } catch (RetriableException error) { // the client tries again
                    synchronized (this) {
                        pause();
                    }
                }
            }
        } catch (RuntimeException error) {
            fail(error);
        }
    }

    /** Stays in the group, reads on if little waits, and commits. */
    private void stepLeads() {
        boolean isFull;
        synchronized (this) {
            isFull = waiting.size() >= WAITING_MAX || postponed.size() >= OUT_MAX;
        }
        if (isFull) {
            leads.pause(leads.assignment());
        } else {
            leads.resume(leads.paused());
            leads.pause(unplaced);
        }
        try {
            var records = leads.poll(POLL);
            synchronized (this) {
                records.forEach(this::add);
                notifyAll();
            }
        } catch (InvalidOffsetException error) {
            place(error.partitions());
        }
        commit();
    }

    /** Begins partitions without a committed offset, or with one that is out of range. */
    private void place(Set<TopicPartition> partitions) {
        var first = leads.beginningOffsets(partitions);
        var last = leads.endOffsets(partitions);
        var committed = leads.committed(partitions);
        synchronized (this) {
            partitions.stream().filter(progress::containsKey).forEach(each -> {
                var known = committed.get(each);
                long begin = first.get(each), end = last.get(each);
                // The choice is for the start: it does not apply where brokers lost leads that were read.
                var start = progress.get(each).upto < 0 ? settings.start : "";
                if (known != null && Math.max(known.offset(), progress.get(each).upto) <= end) {
                    leads.seek(each, Math.max(begin, known.offset())); // Kafka deleted leads that were not read
                } else if (begin == end || start.equals("beginning")) {
                    begin(each, begin, begin);
                } else if (start.equals("end")) {
                    begin(each, end, 0); // earlier leads count as done, also if their verdict is renewed
                } else {
                    leads.seek(each, begin);
                    unplaced.add(each);
                }
            });
        }
        if (!unplaced.isEmpty()) {
            System.getLogger("streamscrub").log(System.Logger.Level.WARNING, trouble());
        }
    }

    private void begin(TopicPartition partition, long offset, long begun) {
        var made = new Progress();
        made.begun = begun;
        made.upto = offset;
        made.isChanged = true;
        progress.put(partition, made);
        leads.seek(partition, offset);
    }

    private synchronized void fail(RuntimeException error) {
        failure = error;
        notifyAll();
    }

    private synchronized void commit() {
        var places = places(progress.keySet());
        if (!places.isEmpty()) {
            leads.commitAsync(places, (which, error) -> {
                if (error != null) {
                    again(which.keySet());
                }
            });
        }
    }

    private synchronized void again(Set<TopicPartition> partitions) {
        partitions.stream().filter(progress::containsKey).forEach(each -> progress.get(each).isChanged = true);
    }

    /** What to commit of these partitions; it counts as committed. */
    private Map<TopicPartition, OffsetAndMetadata> places(Collection<TopicPartition> partitions) {
        var places = new HashMap<TopicPartition, OffsetAndMetadata>();
        for (var partition : partitions) {
            var there = progress.get(partition);
            if (there != null && there.isChanged) {
                places.put(partition, new OffsetAndMetadata(there.offset()));
                there.isChanged = false;
            }
        }
        return places;
    }

    private void add(ConsumerRecord<byte[], byte[]> record) {
        var partition = new TopicPartition(record.topic(), record.partition());
        var there = progress.get(partition);
        if (there == null) {
            return; // fetched before it was given away
        }
        there.begun = there.begun < 0 ? record.offset() : there.begun;
        there.upto = record.offset() + 1;
        var open = new Open();
        open.offsets.add(record.offset());
        there.open.put(record.offset(), open);
        var stamp = stampOn(record);
        if (stamp == null) {
            skip(partition, open, "not-allowed");
            return;
        }
        open.lead = new Lead(stamp.numbers(), record.key(), record.value(), stamp, partition, record.offset());
        var renewed = renewedBy(record);
        var held = there.open.get(renewed);
        if (held != null) {
            renew(held, open.lead);
            held.offsets.add(record.offset());
            there.open.put(record.offset(), held);
        } else if (renewed >= there.begun && !there.lapsed.remove(renewed)) {
            skip(partition, open, "renewed");
        } else {
            waiting.add(open);
        }
    }

    /** A lead was read again with a later verdict. It stays the lead that it was. */
    private void renew(Open held, Lead renewal) {
        var old = held.lead;
        if (held.isOut && !renewal.numbers().containsAll(old.numbers())) { // hand it out again, with the numbers that are left
            takeBack(held);
            waiting.add(held);
        }
        var numbers = held.isOut ? old.numbers() : renewal.numbers();
        held.lead = new Lead(numbers, renewal.key(), renewal.value(), renewal.stamp(), old.partition(), old.offset());
    }

    /** The offset of the record that this one renews; -1 if it is no renewal. */
    private static long renewedBy(ConsumerRecord<byte[], byte[]> record) {
        var header = record.headers().lastHeader("scrub-renews");
        var text = header == null || header.value() == null ? "" : new String(header.value(), StandardCharsets.US_ASCII);
        return text.matches("[0-9]{1,18}") ? Long.parseLong(text) : -1;
    }

    private static Stamp stampOn(ConsumerRecord<byte[], byte[]> record) {
        try {
            var header = record.headers().lastHeader("scrub");
            return Stamp.of(header == null ? Stamp.on(record.value()) : Stamp.read(header.value()));
        } catch (IllegalArgumentException error) {
            return null;
        }
    }

    private void follow() {
        try (notices) {
            while (!isClosing) {
                try {
                    if (notices.assignment().isEmpty()) {
                        var all = end.partitions();
                        var since = recalls.since().toEpochMilli();
                        var begins = notices.offsetsForTimes(all.stream().collect(Collectors.toMap(each -> each, each -> since)));
                        notices.assign(all);
                        notices.seekToBeginning(all); // unless it has a record of that time
                        begins.forEach((partition, begin) -> {
                            if (begin != null) {
                                notices.seek(partition, begin.offset());
                            }
                        });
                    }
                    var records = notices.poll(POLL);
                    synchronized (this) {
                        records.forEach(this::take);
                    }
                    var reachedAt = end.reachedAt(notices);
                    synchronized (this) {
                        seenAt = reachedAt == null ? seenAt : reachedAt;
                        trouble = "";
                        notifyAll();
                    }
                } catch (Unavailable | RetriableException error) {
                    synchronized (this) {
                        trouble = String.valueOf(error.getMessage());
                        pause();
                    }
                }
            }
        } catch (RuntimeException error) {
            fail(error);
        }
    }

    private void take(ConsumerRecord<byte[], byte[]> record) {
        try {
            var partition = new TopicPartition(record.topic(), record.partition());
            recalls.take(record.value(), end.writtenAfter(partition, record.offset()));
        } catch (IllegalArgumentException error) {
            throw new Corrupt(record.offset(), record.topic() + "/" + record.partition() + ": " + error.getMessage()
                + ", so nothing may be dialled");
        }
    }

    private final class Listener implements ConsumerRebalanceListener {
        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            Map<TopicPartition, OffsetAndMetadata> committed = Map.of();
            try {
                committed = leads.committed(Set.copyOf(partitions));
            } catch (KafkaException error) { // a renewal may come as a lead of its own
            }
            synchronized (Allowed.this) {
                for (var partition : partitions) {
                    var made = new Progress();
                    made.begun = committed.get(partition) == null ? -1 : 0;
                    progress.put(partition, made);
                }
            }
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            synchronized (Allowed.this) {
                try {
                    leads.commitSync(places(partitions), Duration.ofSeconds(5));
                } catch (KafkaException error) { // what was acknowledged comes again
                }
            }
            onPartitionsLost(partitions);
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            synchronized (Allowed.this) {
                waiting.removeIf(each -> partitions.contains(each.lead.partition()));
                postponed.removeIf(each -> partitions.contains(each.lead.partition()));
                for (var partition : partitions) {
                    unplaced.remove(partition);
                    var gone = progress.remove(partition);
                    out -= gone == null ? 0 : (int) gone.open.values().stream().distinct().filter(each -> each.isOut).count();
                }
            }
        }
    }
}
