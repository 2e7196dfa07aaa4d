package peer;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/**
 * The scrubber that one would write with Kafka Streams, three times: see USAGE. Runs until SIGTERM and then ends with
 * code 0; an error ends it with code 1.
 */
public final class Main {
  private static final String USAGE =
      """
      usage: [flags] BOOTSTRAP PROSPECTS ALLOWED BLOCKED GROUP REGISTER
        REGISTER is a file of numbers, each a little-endian u64; with --global-table a compacted topic of "+33..." keys
        without flags: libphonenumber, Jackson tree, RoaringBitmap
        --hand-tuned   a number parser made by hand, streaming parser, member spliced into the bytes, RoaringBitmap
        --global-table libphonenumber, Jackson tree, join with a GlobalKTable in RocksDB
        --commit-ms=100 --linger-ms=50 --fetch-min=65536 --threads=1 --state=FOLDER""";
  private static final Set<String> FLAGS =
      Set.of("hand-tuned", "global-table", "commit-ms", "linger-ms", "fetch-min", "threads", "state");

  private Main() {}

  public static void main(String[] args) throws Exception {
    Map<String, String> flags = new HashMap<>();
    for (String each : args) {
      if (each.startsWith("--")) {
        String[] parts = each.substring(2).split("=", 2);
        flags.put(parts[0], parts.length == 2 ? parts[1] : "");
      }
    }
    String[] given = Arrays.stream(args).filter(each -> !each.startsWith("--")).toArray(String[]::new);
    if (given.length != 6 || !FLAGS.containsAll(flags.keySet())) {
      System.err.println(USAGE);
      System.exit(2);
    }
    System.exit(run(topology(given, flags), properties(given[0], given[4], flags)));
  }

  private static Topology topology(String[] given, Map<String, String> flags) throws Exception {
    Routes routes = new Routes(given[1], given[2], given[3]);
    if (flags.containsKey("global-table")) {
      return Scrubbers.withGlobalTable(routes, given[5]);
    }
    Register register = Register.read(Path.of(given[5]));
    return Scrubbers.inMemory(
        routes, flags.containsKey("hand-tuned") ? new Spliced(register) : new Tree(register));
  }

  /** Tuned for throughput: Streams' own commit interval under exactly-once, and batches as large as the worker's. */
  private static Properties properties(String bootstrap, String group, Map<String, String> flags) {
    Properties p = new Properties();
    p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
    p.put(StreamsConfig.APPLICATION_ID_CONFIG, group);
    p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, flags.getOrDefault("threads", "1"));
    p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, flags.getOrDefault("commit-ms", "100"));
    if (flags.containsKey("state")) {
      p.put(StreamsConfig.STATE_DIR_CONFIG, flags.get("state"));
    }
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
