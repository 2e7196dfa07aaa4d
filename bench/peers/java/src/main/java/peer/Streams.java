package peer;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/**
 * The scrubber that one would write with Kafka Streams, three times. Runs until SIGTERM and then ends with code 0; an
 * error ends it with code 1.
 *
 * <p>Without flags: libphonenumber, Jackson's tree, RoaringBitmap. With --hand-tuned: a number parser made by hand, a
 * streaming parser, the member spliced into the bytes, RoaringBitmap. With --global-table REGISTER is a compacted topic
 * of "+33..." keys instead of a file of numbers, each a little-endian u64: libphonenumber, Jackson's tree, join with a
 * GlobalKTable in RocksDB. --commit-ms=100 --linger-ms=50 --fetch-min=65536 --state=FOLDER
 */
public final class Streams {
  private Streams() {}

  public static void main(String[] args) throws Exception {
    Given given = Given.of(args);
    System.exit(run(topology(given), properties(given)));
  }

  private static Topology topology(Given given) throws Exception {
    if (given.flags().containsKey("global-table")) {
      return Scrubbers.withGlobalTable(given.routes(), given.register());
    }
    Register register = Register.read(Path.of(given.register()));
    return Scrubbers.inMemory(
        given.routes(), given.flags().containsKey("hand-tuned") ? new Spliced(register) : new Tree(register));
  }

  /** Tuned for throughput: Streams' own commit interval under exactly-once, and batches as large as the worker's. */
  private static Properties properties(Given given) {
    Map<String, String> flags = given.flags();
    Properties p = new Properties();
    p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, given.bootstrap());
    p.put(StreamsConfig.APPLICATION_ID_CONFIG, given.group());
    p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, flags.getOrDefault("commit-ms", "100"));
    p.put(StreamsConfig.STATE_DIR_CONFIG, flags.get("state"));
    p.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
    p.put(StreamsConfig.POLL_MS_CONFIG, 20);
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 5_000);
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.FETCH_MIN_BYTES_CONFIG), flags.getOrDefault("fetch-min", "65536"));
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG), 50);
    p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 2 * 1024 * 1024);
    p.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
    p.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), flags.getOrDefault("linger-ms", "50"));
    p.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 512 * 1024);
    p.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 128L * 1024 * 1024);
    return p;
  }

  /** Until SIGTERM or an error; returns the exit code. */
  private static int run(Topology topology, Properties properties) throws InterruptedException {
    KafkaStreams streams = new KafkaStreams(topology, properties);
    CountDownLatch failed = new CountDownLatch(1);
    streams.setUncaughtExceptionHandler(
        error -> {
          error.printStackTrace();
          failed.countDown();
          return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
    // A JVM that ends by a signal ends with code 143, whatever its hooks did: hence halt.
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  boolean closed = streams.close(closing());
                  Runtime.getRuntime().halt(closed && failed.getCount() > 0 ? 0 : 1);
                }));
    streams.start();
    failed.await();
    return 1;
  }

  /** Leaving the group at once lets the next run of the same application begin at once. */
  private static CloseOptions closing() {
    return CloseOptions.timeout(Duration.ofSeconds(20))
        .withGroupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP);
  }
}
