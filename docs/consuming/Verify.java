// Check the signature of what an HTTP sink sends. The JDK only.

import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Duration;
import java.time.Instant;
import java.util.Base64;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public final class Verify {
    private Verify() {}

    /** Whether the request is from the relay and young. `body` as it came; `signature` is the header's whole value. */
    public static boolean isGenuine(
            String secret, String id, String timestamp, String signature, byte[] body, Instant now, Duration tolerance)
            throws GeneralSecurityException {
        if (id == null || timestamp == null || signature == null || !timestamp.matches("\\d{1,15}")) {
            return false;
        }
        Instant signed = Instant.ofEpochSecond(Long.parseLong(timestamp));
        if (Duration.between(signed, now).abs().compareTo(tolerance) > 0) {
            return false;
        }
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(Base64.getDecoder().decode(secret.replaceFirst("^whsec_", "")), "HmacSHA256"));
        mac.update((id + "." + timestamp + ".").getBytes(StandardCharsets.UTF_8));
        byte[] expected = ("v1," + Base64.getEncoder().encodeToString(mac.doFinal(body))).getBytes(StandardCharsets.US_ASCII);
        for (String each : signature.split(" ")) { // several while a secret is rotated
            if (MessageDigest.isEqual(expected, each.getBytes(StandardCharsets.UTF_8))) {
                return true;
            }
        }
        return false;
    }
}
