package streamscrub;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.MissingNode;
import java.io.IOException;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;

/**
 * A verdict with its evidence. {@code json} has every member: docs/dialler.md lists them.
 *
 * @param numbers in E.164: call these and no others
 * @param judged the numbers that the verdict is about; {@code numbers} are some of them with {@code callable}
 * @param isPartial whether some of the numbers may be called though others may not
 * @param rules the digests of the rules that decided
 * @param until the last day on which the person may be called, in the country of the number; null if no rule sets one
 */
public record Stamp(boolean allowed, String reason, List<String> numbers, List<String> judged, boolean isPartial, long index,
    Instant at, LocalDate until, String channel, Set<String> rules, JsonNode json) {
    static final ObjectMapper JSON = JsonMapper.builder()
        .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS).build();
    private static final ObjectReader MEMBER = JSON.reader().without(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);
    private static final JsonFactory PROSPECTS = JsonFactory.builder().streamReadConstraints(StreamReadConstraints.builder()
        .maxNumberLength(Integer.MAX_VALUE).maxNameLength(Integer.MAX_VALUE).build()).build();
    private static final Pattern E164 = Pattern.compile("\\+[1-9][0-9]{1,18}");
    private static final Set<String> ALLOWING = Set.of("clear", "consented", "contract", "exempt");

    /** Reads a stamp. Throws IllegalArgumentException, which names no number, for anything else. */
    static Stamp of(JsonNode json) {
        var each = json.path("numbers").isEmpty() ? List.of(json) : json.get("numbers");
        var judged = new LinkedHashSet<String>();
        var rules = new LinkedHashSet<String>();
        for (var one : each) {
            judged.add(number(one.path("number")));
            rules.add(one.path("rules").asText(""));
            rules.add(one.path("residence").asText(""));
        }
        judged.remove("");
        rules.remove("");
        var callable = new ArrayList<String>();
        json.path("callable").forEach(number -> callable.add(number(number)));
        try {
            var verdict = json.path("verdict").asText();
            var reason = json.path("reason").asText();
            var isKnown = verdict.equals("allowed") ? ALLOWING.contains(reason) : verdict.equals("blocked");
            if (!isKnown || !json.path("index").isIntegralNumber()) {
                throw new IllegalArgumentException("it is no stamp");
            }
            var until = json.has("until") ? LocalDate.parse(json.get("until").asText()) : null;
            var numbers = callable.isEmpty() ? List.copyOf(judged) : List.copyOf(callable);
            return new Stamp(verdict.equals("allowed"), reason, numbers, List.copyOf(judged), !callable.isEmpty(),
                json.get("index").asLong(), OffsetDateTime.parse(json.path("at").asText()).toInstant(), until,
                json.path("channel").asText("voice"), Set.copyOf(rules), json);
        } catch (DateTimeException error) {
            throw new IllegalArgumentException("it is no stamp");
        }
    }

    /** The first moment from that one on at which a call may begin, by the hours; null after the last window. Throws
     * IllegalArgumentException if the windows cannot be read. */
    Instant nextCall(Instant moment) {
        if (!json.path("call").isObject()) {
            return moment;
        }
        Instant next = null;
        for (var window : json.get("call").path("windows")) {
            var ends = window.asText().split("/");
            try {
                var first = OffsetDateTime.parse(ends[0]).toInstant();
                var opens = first.isAfter(moment) ? first : moment;
                var isOver = !OffsetDateTime.parse(ends[1]).toInstant().isAfter(moment);
                if (!isOver && (next == null || opens.isBefore(next))) {
                    next = opens;
                }
            } catch (DateTimeException | ArrayIndexOutOfBoundsException error) {
                throw new IllegalArgumentException("it has no hours that can be read");
            }
        }
        return next;
    }

    private static String number(JsonNode json) {
        var text = json.asText("");
        if (!json.isMissingNode() && !json.isNull() && !(json.isTextual() && E164.matcher(text).matches())) {
            throw new IllegalArgumentException("it is no stamp");
        }
        return text;
    }

    /** The stamp in the value of an emitted prospect. All else in it is the producer's: doubled members, numbers of any length. */
    static JsonNode on(byte[] value) {
        JsonNode found = MissingNode.getInstance();
        try (var parser = PROSPECTS.createParser(value == null ? new byte[0] : value)) {
            for (parser.nextToken(); parser.nextToken() == JsonToken.FIELD_NAME; parser.skipChildren()) {
                var isStamp = parser.currentName().equals("scrub");
                parser.nextToken();
                found = isStamp ? MEMBER.readTree(parser) : found;
            }
            return found;
        } catch (IOException error) {
            throw new IllegalArgumentException("it is no JSON");
        }
    }

    static JsonNode read(byte[] bytes) {
        try {
            return JSON.readTree(bytes);
        } catch (IOException | IllegalArgumentException error) {
            throw new IllegalArgumentException("it is no JSON");
        }
    }

    /** Without numbers: none may get into a log. */
    @Override
    public String toString() {
        return "Stamp[" + (allowed ? "allowed" : "blocked") + ", " + reason + ", index " + index + "]";
    }
}
