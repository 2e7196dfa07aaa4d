// What tests/kits/test_followers.py asks of the kit: logs from files, look-ups in bulk, and a log on Kafka.
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.net.http.HttpClient;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.record.TimestampType;
import streamscrub.Allowed;
import streamscrub.CheckClient;
import streamscrub.Corrupt;
import streamscrub.Follower;
import streamscrub.Lead;
import streamscrub.Replay;
import streamscrub.Unavailable;
import streamscrub.Unknown;

public class Driver {
    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        var rest = List.of(arguments).subList(1, arguments.length);
        switch (arguments[0]) {
            case "replay" -> {
                for (var path : rest) {
                    var replay = new Replay();
                    Long fault = null;
                    try {
                        replay(path, replay);
                    } catch (Corrupt corrupt) {
                        fault = corrupt.offset;
                    }
                    show(replay, fault);
                }
            }
            case "look-up" -> lookUp(rest.get(0), rest.get(1), rest.subList(2, rest.size()));
            case "dial" -> dial(rest.get(0), rest.get(1), rest.get(2), rest.get(3), rest.get(4), rest.get(5));
            case "check" -> check();
            case "follow" -> follow(rest.get(0), rest.get(1), rest.subList(2, rest.size()));
        }
    }

    static void replay(String path, Replay replay) throws IOException {
        for (var line : Files.readAllLines(Path.of(path))) {
            var read = JSON.readTree(line);
            var headers = new RecordHeaders();
            for (var each : read.get("headers")) {
                headers.add(each.get(0).asText(), each.get(1).asText().getBytes());
            }
            replay.take(new ConsumerRecord<>("log", 0, read.get("offset").asLong(), 0L, TimestampType.CREATE_TIME, 0, 0,
                bytes(read.get("key")), bytes(read.get("value")), headers, Optional.empty()));
        }
    }

    static byte[] bytes(JsonNode text) throws IOException {
        return text.isNull() ? null : text.binaryValue();
    }

    static void show(Replay replay, Long fault) throws IOException {
        var shown = new TreeMap<String, Object>(Map.of(
            "position", replay.position(), "log_chain", replay.logChain(), "digest", replay.digest()));
        shown.put("corrupt", fault);
        var registers = new TreeMap<String, Object>();
        replay.registers().forEach((name, each) -> registers.put(name, List.of(each.seq(), each.chain(), each.count())));
        shown.put("registers", registers);
        System.out.println(JSON.writeValueAsString(shown));
    }

    static void lookUp(String log, String numbers, List<String> registers) throws IOException {
        var replay = new Replay();
        replay(log, replay);
        var asked = ByteBuffer.wrap(Files.readAllBytes(Path.of(numbers))).order(ByteOrder.LITTLE_ENDIAN);
        try (var out = new BufferedWriter(new OutputStreamWriter(System.out))) {
            while (asked.hasRemaining()) {
                try {
                    out.write(String.join(" ", replay.holding(asked.getLong(), registers).registers()) + "\n");
                } catch (Unavailable error) {
                    out.write("error\n");
                }
            }
        }
    }

    static void dial(String bootstrap, String allowed, String recalled, String group, String recall, String start) throws IOException {
        var settings = new Allowed.Settings(group, Map.of("bootstrap.servers", bootstrap, "session.timeout.ms", 6000));
        settings.allowed = List.of(allowed);
        settings.recalled = recalled;
        settings.recall = recall.isEmpty() ? "live" : recall;
        settings.start = start;
        settings.lagMax = java.time.Duration.ofSeconds(5);
        var given = new TreeMap<String, Lead>();
        try (var leads = new Allowed(settings)) {
            var lines = new BufferedReader(new InputStreamReader(System.in));
            for (var line = lines.readLine(); line != null; line = lines.readLine()) {
                var words = line.split(" ", 2);
                try {
                    switch (words[0]) {
                        case "next" -> {
                            var lead = leads.next();
                            var name = lead.partition().partition() + "/" + lead.offset();
                            given.put("before " + name, given.get(name));
                            given.put(name, lead);
                            System.out.println(name + " " + String.join(" ", lead.numbers()));
                        }
                        case "ack" -> {
                            leads.ack(given.get(words[1]));
                            System.out.println("ok");
                        }
                        case "may" -> System.out.println(leads.mayDial(given.get(words[1])));
                        case "trouble" -> System.out.println(leads.trouble());
                        case "skipped" -> System.out.println(JSON.writeValueAsString(leads.skipped()));
                        case "close" -> {
                            leads.close();
                            System.out.println("ok");
                            return;
                        }
                    }
                } catch (Unavailable | Corrupt error) {
                    System.out.println("error " + error.getMessage());
                }
            }
        }
    }

    static void check() throws IOException {
        var lines = new BufferedReader(new InputStreamReader(System.in));
        for (var line = lines.readLine(); line != null; line = lines.readLine()) {
            var read = JSON.readTree(line);
            var token = read.get("token").asText();
            var deadline = Duration.ofMillis((long) (1000 * read.get("deadline").asDouble()));
            try {
                var http = HttpClient.newBuilder();
                var client = new CheckClient(read.get("url").asText(), token.isEmpty() ? null : token, deadline, http);
                var numbers = JSON.convertValue(read.get("numbers"), String[].class);
                var stamp = client.check(List.of(numbers), Map.of("purpose", "insurance"));
                System.out.println(stamp.allowed() + " " + stamp.reason() + " " + String.join(",", stamp.numbers()));
            } catch (Unknown error) {
                System.out.println("unknown " + error.status + " " + error.getMessage());
            } catch (IllegalArgumentException error) {
                System.out.println("error " + error.getMessage());
            }
        }
        System.exit(0);
    }

    static void follow(String bootstrap, String topic, List<String> registers) throws IOException {
        try (var follower = new Follower(topic, Map.of("bootstrap.servers", bootstrap))) {
            var lines = new BufferedReader(new InputStreamReader(System.in));
            for (var line = lines.readLine(); line != null; line = lines.readLine()) {
                try {
                    if (line.equals("state")) {
                        follower.needUsable();
                        show(follower.replay(), null);
                        continue;
                    }
                    var found = follower.holding(Long.parseUnsignedLong(line), registers);
                    System.out.println(found.position() + " " + String.join(" ", found.registers()));
                } catch (Unavailable | Corrupt error) {
                    System.out.println("error " + error.getMessage());
                }
            }
        }
    }
}
