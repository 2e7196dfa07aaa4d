// What tests/kits asks of the kit.
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.http.HttpClient;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import streamscrub.Allowed;
import streamscrub.CheckClient;
import streamscrub.Corrupt;
import streamscrub.Lead;
import streamscrub.Unknown;

public class Driver {
    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        var rest = List.of(arguments).subList(1, arguments.length);
        switch (arguments[0]) {
            case "dial" -> dial(rest.get(0), rest.get(1), rest.get(2), rest.get(3), rest.get(4), rest.get(5));
            case "check" -> check();
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
                        case "may" -> {
                            var answer = leads.mayDial(given.get(words[1]));
                            var notBefore = answer.notBefore() == null ? "" : " " + answer.notBefore();
                            System.out.println(answer.allowed() ? "true" : "false " + answer.why() + notBefore);
                        }
                        case "postpone" -> { // for a second
                            leads.postpone(given.get(words[1]), Instant.now().plusSeconds(1));
                            System.out.println("ok");
                        }
                        case "trouble" -> System.out.println(leads.trouble());
                        case "skipped" -> System.out.println(JSON.writeValueAsString(leads.skipped()));
                        case "close" -> {
                            leads.close();
                            System.out.println("ok");
                            return;
                        }
                    }
                } catch (Corrupt error) {
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
}
