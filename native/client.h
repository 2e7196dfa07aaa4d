/* The part of librdkafka's public C interface (rdkafka.h) that the extension calls, by addresses that are looked up in
 * the library that is already loaded (`scrub_plug_in`). Nothing of the Python binding is read. */
#ifndef STREAM_SCRUB_CLIENT_H
#define STREAM_SCRUB_CLIENT_H
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct { /* rd_kafka_message_t */
    int err;
    void *rkt;
    int32_t partition;
    void *payload;
    size_t len;
    void *key;
    size_t key_len;
    int64_t offset;
    void *_private;
} client_message;

enum { CLIENT_OK = 0, CLIENT_FAILED = -196, CLIENT_NONE = -156 }; /* rd_kafka_resp_err_t */

/* Name, result, parameters: all that is called. */
#define CLIENT_FUNCTIONS(F)                                                                                              \
    F(rd_kafka_conf_interceptor_add_on_conf_set, int, (void *, const char *, void *, void *))                            \
    F(rd_kafka_conf_interceptor_add_on_conf_destroy, int, (void *, const char *, void *, void *))                        \
    F(rd_kafka_conf_interceptor_add_on_new, int, (void *, const char *, void *, void *))                                 \
    F(rd_kafka_interceptor_add_on_destroy, int, (void *, const char *, void *, void *))                                  \
    F(rd_kafka_interceptor_add_on_request_sent, int, (void *, const char *, void *, void *))                             \
    F(rd_kafka_interceptor_add_on_response_received, int, (void *, const char *, void *, void *))                        \
    F(rd_kafka_interceptor_add_on_acknowledgement, int, (void *, const char *, void *, void *))                          \
    F(rd_kafka_queue_new, void *, (void *))                                                                              \
    F(rd_kafka_queue_get_partition, void *, (void *, const char *, int32_t))                                             \
    F(rd_kafka_queue_forward, void, (void *, void *))                                                                    \
    F(rd_kafka_queue_destroy, void, (void *))                                                                            \
    F(rd_kafka_consume_batch_queue, ssize_t, (void *, int, client_message **, size_t))                                   \
    F(rd_kafka_message_destroy, void, (client_message *))                                                                \
    F(rd_kafka_message_timestamp, int64_t, (const client_message *, int *))                                              \
    F(rd_kafka_message_leader_epoch, int32_t, (const client_message *))                                                  \
    F(rd_kafka_message_detach_headers, int, (client_message *, void **))                                                  \
    F(rd_kafka_header_get_all, int, (const void *, size_t, const char **, const void **, size_t *))                      \
    F(rd_kafka_headers_new, void *, (size_t))                                                                            \
    F(rd_kafka_headers_destroy, void, (void *))                                                                          \
    F(rd_kafka_header_add, int, (void *, const char *, ssize_t, const void *, ssize_t))                                  \
    F(rd_kafka_topic_new, void *, (void *, const char *, void *))                                                        \
    F(rd_kafka_topic_name, const char *, (const void *))                                                                 \
    F(rd_kafka_topic_destroy, void, (void *))                                                                            \
    F(rd_kafka_producev, int, (void *, ...))

#define DECLARED(name, result, parameters) extern result(*name) parameters;
CLIENT_FUNCTIONS(DECLARED)
#undef DECLARED

/* One record to a topic, copied. Returns an rd_kafka_resp_err_t; unless it is CLIENT_OK the headers stay the caller's. */
int client_produce(void *producer, void *topic, int32_t partition, const void *value, size_t size, const void *key,
                   size_t key_size, int64_t timestamp_ms, void *headers);
/* The rd_kafka_t of the living client with that token; NULL if there is none. */
void *scrub_client(long token);
#endif
