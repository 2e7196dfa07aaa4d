package streamscrub;

import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Follows the opposition log from its first record, in a thread of its own. Any thread may ask. */
public final class Follower implements AutoCloseable {
    private static final long LAG_MAX_NS = 30_000_000_000L; // since the log's end was last known to be reached

    private final Replay replay = new Replay();
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final TopicEnd end;
    private final Thread thread;
    private volatile boolean isClosing;
    private volatile Long confirmedAt; // everything that was on the log then is applied
    private volatile RuntimeException failure; // for good: a new follower must begin
    private volatile String trouble = "it is being read for the first time";

    /** @param properties those of Kafka's client that name the brokers, and how to reach them */
    public Follower(String topic, Map<String, Object> properties) {
        var own = new HashMap<>(properties);
        own.putAll(Map.of("isolation.level", "read_committed", "enable.auto.commit", false, "auto.offset.reset", "none"));
        consumer = new KafkaConsumer<>(own, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        end = new TopicEnd(topic, properties);
        var partition = new TopicPartition(topic, 0);
        consumer.assign(List.of(partition));
        consumer.seek(partition, 0);
        thread = new Thread(this::run, "follower");
        thread.setDaemon(true);
        thread.start();
    }

    /** As {@link Replay#holding}, by an index that has everything that was on the log 30 seconds ago. Throws
     * {@link Unavailable} if there is none (the brokers are away, a transaction stays open), {@link Corrupt} if the log is. */
    public Replay.Found holding(long number, Collection<String> registers) {
        needUsable();
        return replay.holding(number, registers);
    }

    /** Throws unless an answer would be safe now. */
    public void needUsable() {
        if (failure != null) {
            throw failure;
        }
        var at = confirmedAt;
        if (at == null || System.nanoTime() - at > LAG_MAX_NS) {
            throw new Unavailable("the log's end was not reached in the last 30 s: " + trouble);
        }
    }

    /** Waits until an answer is safe. Throws {@link Unavailable} if none is in that time. */
    public void awaitUsable(Duration patience) throws InterruptedException {
        for (var ends = System.nanoTime() + patience.toNanos(); ; Thread.sleep(50)) {
            try {
                needUsable();
                return;
            } catch (Unavailable error) {
                if (System.nanoTime() >= ends) {
                    throw error;
                }
            }
        }
    }

    /** The index that this follower keeps. */
    public Replay replay() {
        return replay;
    }

    private void run() {
        while (!isClosing && failure == null) {
            try {
                consumer.poll(Duration.ofMillis(200)).forEach(replay::take);
                var reachedAt = end.reachedAt(consumer);
                if (reachedAt != null) {
                    var isWhole = !replay.isUnsealed();
                    trouble = isWhole ? "" : "parts of a delta without its seal";
                    confirmedAt = isWhole ? reachedAt : null;
                }
            } catch (OffsetOutOfRangeException error) {
                failure = new Corrupt(-1, "the log's beginning was deleted, or the log lost records: " + error.getMessage());
            } catch (Unavailable | KafkaException error) {
                trouble = String.valueOf(error.getMessage());
            } catch (RuntimeException error) {
                failure = error;
            }
        }
        consumer.close();
    }

    /** Ends the thread. No answer is given afterwards. */
    @Override
    public void close() {
        isClosing = true;
        try {
            thread.join();
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
        failure = new IllegalStateException("the follower is closed");
        end.close();
    }
}
