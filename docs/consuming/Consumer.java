// Consume what the relay writes to Kafka: each event once, in order, and nothing that cannot be read stops it.
// Needs org.apache.kafka:kafka-clients and com.fasterxml.jackson.core:jackson-databind.

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

public final class Consumer {
    private static final ObjectMapper JSON = new ObjectMapper();

    // In production: a table with a unique key, written in one transaction with the effect.
    private final Set<String> handled = new HashSet<>();

    String handle(String id, byte[] body) {
        if (!handled.add(id)) {
            return "known already";
        }
        JsonNode event;
        try {
            event = JSON.readTree(new String(body, StandardCharsets.UTF_8));
        } catch (JsonProcessingException error) {
            return "put aside: " + error.getOriginalMessage(); // poison: keep it somewhere, and go on
        }
        JsonNode recording = event.path("recording");
        if (recording.path("status").asText().equals("UPLOADED")) {
            // a number from Dyte, a text from RealtimeKit: asLong reads both
            System.out.println("recording " + recording.path("recordingId").asText() + ": "
                + recording.path("fileSize").asLong() + " bytes");
        }
        return "handled";
    }

    public static void main(String[] arguments) {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", System.getenv("KAFKA_BROKER"),
            "group.id", "recordings-java",
            "enable.auto.commit", "false", // an offset is committed when its events are handled
            "auto.offset.reset", "earliest");
        Consumer events = new Consumer();
        try (var kafka = new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer())) {
            kafka.subscribe(List.of("dyte.events"));
            while (true) {
                for (ConsumerRecord<String, byte[]> message : kafka.poll(Duration.ofSeconds(1))) {
                    String said = events.handle(header(message, "ce_id"), message.value());
                    System.out.println(header(message, "ce_type") + " " + said);
                }
                kafka.commitSync();
            }
        }
    }

    private static String header(ConsumerRecord<String, byte[]> message, String name) {
        return new String(message.headers().lastHeader(name).value(), StandardCharsets.UTF_8);
    }
}
