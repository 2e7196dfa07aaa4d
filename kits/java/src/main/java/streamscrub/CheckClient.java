package streamscrub;

import java.io.IOException;
import java.net.ConnectException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.channels.UnresolvedAddressException;
import java.security.cert.CertificateException;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Stream;

/** Asks the check API whether numbers may be called now: docs/check-api.md. Threads may share one. */
public final class CheckClient {
    private static final String NO_SCHEME = "the address has no scheme: write http:// or https:// in front";
    private static final String REFUSED = "the connection was refused: start the server, or correct the address and the port";
    private static final String UNTRUSTED = "the server's certificate is not trusted: pass an HttpClient.Builder whose SSLContext"
        + " trusts your authority, or correct the host name";
    private static final String TIMED_OUT = "no answer came in time: look whether the server hangs, or raise the deadline";
    private static final Set<Integer> TRY_AGAIN = Set.of(408, 425, 429, 500, 502, 503, 504);
    private static final Duration APART_MAX = Duration.ofMinutes(5); // between a stamp's moment and this machine's clock
    private static final ZoneOffset LAST_ZONE = ZoneOffset.ofHours(-12); // a day ends last on earth there
    private static final int LAST = 6, LEAST = 4; // digits that are compared; with fewer numbers cannot be distinguished

    private final HttpClient http;
    private final URI url;
    private final String token;
    private final Duration deadline;

    /** A client with a deadline of two seconds for the whole of a call, and the system's trusted authorities. */
    public CheckClient(String url, String token) {
        this(url, token, Duration.ofSeconds(2), HttpClient.newBuilder());
    }

    /**
     * @param token a bearer token; null for none
     * @param deadline of a whole call: failures that may pass are tried again until then
     * @param http with what else you set, as an SSLContext that trusts your own authority
     */
    public CheckClient(String url, String token, Duration deadline, HttpClient.Builder http) {
        if (!url.matches("(?i)https?://.*")) {
            throw new IllegalArgumentException(NO_SCHEME);
        }
        this.url = URI.create(url.replaceAll("/+$", "") + "/v1/check");
        if (token != null && !token.matches("[!-~]+")) { // the error of a header would show it
            throw new IllegalArgumentException("the token has a sign that no header can hold");
        }
        this.token = token;
        this.deadline = deadline;
        // A proxy or an upgrade may bring another one's answer.
        this.http = http.version(HttpClient.Version.HTTP_1_1).proxy(HttpClient.Builder.NO_PROXY)
            .followRedirects(HttpClient.Redirect.NEVER).build();
    }

    /**
     * The verdict on one number, or on a person with several. Throws {@link Unknown} if there is none in time.
     *
     * @param facts members of a prospect, as in {@code Map.of("purpose", "insurance", "campaign", "acme")}
     */
    public Stamp check(List<String> numbers, Map<String, ?> facts) {
        var question = new HashMap<String, Object>(facts);
        question.put("number", numbers.size() == 1 ? numbers.get(0) : numbers);
        byte[] body;
        try {
            body = Stamp.JSON.writeValueAsBytes(question);
        } catch (IOException error) {
            throw new IllegalArgumentException("a fact that JSON cannot hold");
        }
        var ends = System.nanoTime() + deadline.toNanos();
        HttpResponse<byte[]> best = null; // the last one, but rather a server's answer than none
        var why = TIMED_OUT; // there is no answer: the last cause that is known
        for (var tries = 0; ; tries++) {
            try {
                var answer = ask(body, ends);
                best = answer == null ? best : answer;
            } catch (ExecutionException error) {
                var cause = causeOf(error);
                why = cause.isEmpty() ? why : cause;
            }
            var pause = pauseNanos(best, tries);
            if (best != null && !TRY_AGAIN.contains(best.statusCode()) || System.nanoTime() + pause >= ends) {
                break;
            }
            try {
                TimeUnit.NANOSECONDS.sleep(pause);
            } catch (InterruptedException error) {
                Thread.currentThread().interrupt();
                break;
            }
        }
        if (best == null) {
            throw new Unknown(why, 0);
        }
        return verdict(best, numbers);
    }

    /** A cause that needs somebody; empty for another one. The error's text may name what was asked. */
    private static String causeOf(Throwable error) {
        var isRefused = false;
        for (var cause = error.getCause(); cause != null; cause = cause.getCause()) {
            if (cause instanceof CertificateException) {
                return UNTRUSTED;
            }
            if (cause instanceof UnresolvedAddressException) {
                return "";
            }
            isRefused |= cause instanceof ConnectException;
        }
        return isRefused ? REFUSED : "";
    }

    /** One try; null if no answer came in time. */
    private HttpResponse<byte[]> ask(byte[] body, long ends) throws ExecutionException {
        var request = HttpRequest.newBuilder(url).POST(HttpRequest.BodyPublishers.ofByteArray(body))
            .header("Content-Type", "application/json").header("Accept", "application/json")
            .header("Accept-Encoding", "identity");
        if (token != null) {
            request.header("Authorization", "Bearer " + token);
        }
        var answer = http.sendAsync(request.build(), HttpResponse.BodyHandlers.ofByteArray());
        try {
            return answer.get(Math.max(1, ends - System.nanoTime()), TimeUnit.NANOSECONDS);
        } catch (TimeoutException error) {
            return null;
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            return null;
        } finally {
            answer.cancel(true);
        }
    }

    /** As long as the server says, else longer each time, and not the same for all clients. */
    private static long pauseNanos(HttpResponse<?> answer, int tries) {
        var own = Math.min(1.0, 0.05 * Math.pow(2, tries)) * ThreadLocalRandom.current().nextDouble(0.5, 1.0);
        var asked = answer == null ? "" : answer.headers().firstValue("Retry-After").orElse("");
        return (long) (1e9 * (asked.matches("[0-9]{1,9}") ? Math.max(own, Double.parseDouble(asked)) : own));
    }

    private static Stamp verdict(HttpResponse<byte[]> answer, List<String> numbers) {
        var status = answer.statusCode();
        need(status == 200, "the server answered " + status, status);
        need(answer.headers().firstValue("Content-Encoding").orElse("identity").equals("identity"), "the answer is compressed", status);
        Stamp stamp;
        try {
            stamp = Stamp.of(Stamp.read(answer.body()));
        } catch (IllegalArgumentException error) {
            throw new Unknown("the answer is not a stamp", status);
        }
        need(isAbout(stamp, numbers), "the answer is about another number", status);
        var now = Instant.now();
        need(Duration.between(stamp.at(), now).abs().compareTo(APART_MAX) <= 0, "the answer is of another moment", status);
        var lapsed = stamp.until() != null && stamp.until().isBefore(LocalDate.ofInstant(now, LAST_ZONE));
        need(!lapsed, "the answer has lapsed", status);
        return stamp;
    }

    private static void need(boolean isSo, String otherwise, int status) {
        if (!isSo) {
            throw new Unknown(otherwise, status);
        }
    }

    /** Whether a stamp's numbers are those of the question, as far as their last digits show: proxies mix answers up. */
    private static boolean isAbout(Stamp stamp, List<String> numbers) {
        var ends = new ArrayList<String>();
        for (var number : numbers) {
            for (var piece : number.split("[\\p{L}#;,]+")) { // what begins an extension, or is no part of the number
                var digits = piece.replaceAll("[^0-9]", "").replaceAll("^0+", "");
                if (digits.length() >= LEAST) {
                    ends.add(digits.substring(Math.max(0, digits.length() - LAST)));
                }
            }
        }
        if (stamp.judged().isEmpty() || ends.isEmpty()) {
            return !stamp.allowed();
        }
        return Stream.concat(stamp.judged().stream(), stamp.numbers().stream())
            .allMatch(each -> ends.stream().anyMatch(each::endsWith));
    }
}
