package streamscrub;

import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.errors.RetriableException;

/** Knows when everything that was written to a topic had been read, records of open transactions included. */
final class TopicEnd implements AutoCloseable {
    private static final long ASK_EVERY_NS = 200_000_000, PATIENCE_S = 5;
    private static final int ASKED_MAX = 8;

    private final Admin admin;
    private final String topic;
    private Map<TopicPartition, Long> ends = Map.of();
    private Uuid id;
    private long askedAt;
    /** The last questions for the ends, the latest first. */
    private final Deque<Asked> questions = new ArrayDeque<>();

    private record Asked(long at, Map<TopicPartition, Long> ends) {}

    TopicEnd(String topic, Map<String, Object> properties) {
        this.topic = topic;
        admin = Admin.create(properties);
    }

    /** All partitions of the topic. */
    List<TopicPartition> partitions() {
        return describe().partitions().stream().map(each -> new TopicPartition(topic, each.partition())).toList();
    }

    /** The last moment ({@link System#nanoTime}) of which the consumer, which has all partitions, has read everything; null
     * if that is unknown. Throws {@link Corrupt} if the topic was created again or lost records. */
    Long reachedAt(Consumer<?, ?> consumer) {
        // New ends are asked for once the last ones are reached: under load there may be no moment without more records.
        if (ends.isEmpty() || isReached(consumer) && System.nanoTime() - askedAt >= ASK_EVERY_NS) {
            var now = System.nanoTime();
            var found = describe();
            var asked = consumer.assignment().stream().collect(Collectors.toMap(each -> each, each -> OffsetSpec.latest()));
            var options = new ListOffsetsOptions(IsolationLevel.READ_UNCOMMITTED);
            var next = new HashMap<TopicPartition, Long>();
            answer(admin.listOffsets(asked, options).all()).forEach((partition, end) -> next.put(partition, end.offset()));
            var isShorter = next.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) > end.getValue());
            if (id != null && !id.equals(found.topicId()) || isShorter) {
                throw new Corrupt(-1, topic + " was created again, or lost records that were read");
            }
            if (found.partitions().size() != next.size()) {
                throw new Corrupt(-1, topic + " has other partitions than at the start: start again");
            }
            id = found.topicId();
            ends = next;
            askedAt = now;
            questions.addFirst(new Asked(now, next));
            if (questions.size() > ASKED_MAX) {
                questions.removeLast();
            }
        }
        return isReached(consumer) ? askedAt : null;
    }

    /** A moment ({@link System#nanoTime}) after which a record was written, by this machine's clock alone; null if unknown. */
    Long writtenAfter(TopicPartition partition, long offset) {
        for (var each : questions) {
            if (each.ends.getOrDefault(partition, Long.MAX_VALUE) <= offset) {
                return each.at;
            }
        }
        return null;
    }

    private boolean isReached(Consumer<?, ?> consumer) {
        return ends.entrySet().stream().allMatch(end -> consumer.position(end.getKey()) >= end.getValue());
    }

    private TopicDescription describe() {
        return answer(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
    }

    private static <T> T answer(KafkaFuture<T> future) {
        try {
            return future.get(PATIENCE_S, TimeUnit.SECONDS);
        } catch (ExecutionException error) {
            var isForGood = error.getCause() instanceof KafkaException cause && !(cause instanceof RetriableException);
            throw isForGood ? (KafkaException) error.getCause() : new Unavailable("a broker answered " + error.getCause());
        } catch (TimeoutException error) {
            throw new Unavailable("the brokers do not answer: " + error);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new Unavailable("interrupted");
        }
    }

    @Override
    public void close() {
        admin.close(Duration.ofSeconds(1));
    }
}
