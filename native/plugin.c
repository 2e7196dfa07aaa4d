/* What the client really sends: a plugin of librdkafka (`plugin.library.paths` names the extension's own file).
 *
 * librdkafka repeats a transaction's request whose connection broke, and says so to nobody. Its interceptors see every
 * request leave and every answer come. A request that was never answered, or that was sent again before it was, may still
 * be on its way: `kafka/client/repeated_requests.py` makes the producer anew then. Nothing here calls back into Python, and only public C
 * functions of the library that is already loaded are used, by the addresses that `scrub_plug_in` is given.
 *
 * A watch belongs to one producer's life. It is named by a token, which the producer gets as a property of its own.
 */
#ifndef _WIN32
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

#define EXPORTED __attribute__((visibility("default")))
#define NAME "stream_scrub"
#define TOKEN "stream.scrub.watch"

enum { CONF_UNKNOWN = -2, CONF_INVALID = -1, CONF_OK = 0 }; /* rd_kafka_conf_res_t */

#define DEFINED(name, result, parameters) result(*name) parameters;
CLIENT_FUNCTIONS(DEFINED)
#undef DEFINED

/* AddPartitionsToTxn, AddOffsetsToTxn, EndTxn, TxnOffsetCommit. Of each kind at most one is on its way at a time. */
enum { FIRST = 24, KINDS = 5 };

static int kind_of(int16_t api) {
    return api == 24 || api == 25 || api == 26 || api == 28 ? api - FIRST : -1;
}

typedef struct watch {
    long token;
    int holders; /* whoever asks, and the client */
    int attached;
    int open[KINDS]; /* sent, and not answered */
    int repeated;
    void *handle;    /* the client's rd_kafka_t, as long as it lives */
    int failed;      /* the code of the first record that was not delivered since `scrub_failed` was asked */
    char topic[250]; /* and its topic: of at most 249 signs */
    struct watch *next;
} watch;

typedef struct client { /* of one configuration: it has a watch once its token was set */
    watch *watched;
} client;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static watch *watches;
static long last_token;

static watch *found(long token) {
    watch *each = watches;
    while (each && each->token != token)
        each = each->next;
    return each;
}

static void let_go(watch *one) {
    watch **at = &watches;
    if (--one->holders)
        return;
    while (*at != one)
        at = &(*at)->next;
    *at = one->next;
    free(one);
}

static int on_request_sent(void *rk, int socket, const char *broker, int32_t id, int16_t api, int16_t version,
                           int32_t correlation, size_t size, void *opaque) {
    int kind = kind_of(api);
    if (kind >= 0) {
        watch *one = opaque;
        pthread_mutex_lock(&lock);
        one->repeated |= one->open[kind];
        one->open[kind] = 1;
        pthread_mutex_unlock(&lock);
    }
    return CLIENT_OK;
}

/* Called for failures too, without a size, and twice for what the client hands on to another of its threads. */
static int on_response_received(void *rk, int socket, const char *broker, int32_t id, int16_t api, int16_t version,
                                int32_t correlation, size_t size, int64_t rtt, int error, void *opaque) {
    int kind = kind_of(api);
    if (kind >= 0 && size > 0) {
        watch *one = opaque;
        pthread_mutex_lock(&lock);
        one->open[kind] = 0;
        pthread_mutex_unlock(&lock);
    }
    return CLIENT_OK;
}

static int on_conf_set(void *conf, const char *name, const char *value, char *why, size_t room, void *opaque) {
    client *mine = opaque;
    int known;
    if (strcmp(name, TOKEN))
        return CONF_UNKNOWN;
    pthread_mutex_lock(&lock);
    known = !mine->watched && value && (mine->watched = found(atol(value)));
    if (known)
        mine->watched->holders++;
    pthread_mutex_unlock(&lock);
    if (!known)
        snprintf(why, room, "nobody watches by that token");
    return known ? CONF_OK : CONF_INVALID;
}

static int on_destroy(void *rk, void *opaque) {
    watch *one = opaque;
    pthread_mutex_lock(&lock);
    one->handle = NULL;
    pthread_mutex_unlock(&lock);
    return CLIENT_OK;
}

/* Called for every record, from the client's threads: it must be quick. */
static int on_acknowledgement(void *rk, client_message *record, void *opaque) {
    watch *one = opaque;
    if (record->err) {
        pthread_mutex_lock(&lock);
        if (!one->failed) {
            one->failed = record->err;
            snprintf(one->topic, sizeof one->topic, "%s", record->rkt ? rd_kafka_topic_name(record->rkt) : "");
        }
        pthread_mutex_unlock(&lock);
    }
    return CLIENT_OK;
}

static int on_new(void *rk, const void *conf, void *opaque, char *why, size_t room) {
    client *mine = opaque;
    if (!mine->watched)
        return CLIENT_OK;
    if (rd_kafka_interceptor_add_on_request_sent(rk, NAME, on_request_sent, mine->watched) ||
        rd_kafka_interceptor_add_on_response_received(rk, NAME, on_response_received, mine->watched) ||
        rd_kafka_interceptor_add_on_acknowledgement(rk, NAME, on_acknowledgement, mine->watched) ||
        rd_kafka_interceptor_add_on_destroy(rk, NAME, on_destroy, mine->watched))
        return CLIENT_FAILED;
    pthread_mutex_lock(&lock);
    mine->watched->attached = 1;
    mine->watched->handle = rk;
    pthread_mutex_unlock(&lock);
    return CLIENT_OK;
}

/* A client's configuration lives as long as its threads do, so none of them can see a watch that is gone. */
static int on_conf_destroy(void *opaque) {
    client *mine = opaque;
    pthread_mutex_lock(&lock);
    if (mine->watched)
        let_go(mine->watched);
    pthread_mutex_unlock(&lock);
    free(mine);
    return CLIENT_OK;
}

EXPORTED int conf_init(void *conf, void **plugin, char *why, size_t room) {
    client *mine;
    if (!rd_kafka_topic_name) {
        snprintf(why, room, "stream_scrub_native was not plugged in");
        return CLIENT_FAILED;
    }
    if (!(mine = calloc(1, sizeof *mine)))
        return CLIENT_FAILED;
    if (rd_kafka_conf_interceptor_add_on_conf_destroy(conf, NAME, on_conf_destroy, mine)) {
        free(mine);
        return CLIENT_FAILED;
    }
    return rd_kafka_conf_interceptor_add_on_conf_set(conf, NAME, on_conf_set, mine) ||
                   rd_kafka_conf_interceptor_add_on_new(conf, NAME, on_new, mine) ? CLIENT_FAILED : CLIENT_OK;
}

/* The name of a function that is called, by its place; NULL behind the last one. Nobody asks beyond that. */
EXPORTED const char *scrub_wanted(int place) {
#define NAMED(name, result, parameters) #name,
    static const char *const names[] = {CLIENT_FUNCTIONS(NAMED) NULL};
#undef NAMED
    return names[place];
}

/* Their addresses, in that order: as many as there are names. */
EXPORTED void scrub_plug_in(void *const functions[]) {
    int place = 0;
#define SET(name, result, parameters) name = (result(*) parameters)functions[place++];
    CLIENT_FUNCTIONS(SET)
#undef SET
}

/* A watch for the next producer; its token, or 0. */
EXPORTED long scrub_watch(void) {
    watch *one = calloc(1, sizeof *one);
    long token = 0;
    if (one) {
        pthread_mutex_lock(&lock);
        token = one->token = ++last_token;
        one->holders = 1;
        one->next = watches;
        watches = one;
        pthread_mutex_unlock(&lock);
    }
    return token;
}

/* Whether a client was made with that token; no more when both it and whoever asks are gone. */
EXPORTED int scrub_watch_attached(long token) {
    watch *one;
    int attached;
    pthread_mutex_lock(&lock);
    one = found(token);
    attached = one && one->attached;
    pthread_mutex_unlock(&lock);
    return attached;
}

/* Whether some request that its client sent was repeated before it was answered, or has no answer now. */
EXPORTED int scrub_watch_in_doubt(long token) {
    watch *one;
    int doubt = 1;
    pthread_mutex_lock(&lock);
    if ((one = found(token))) {
        doubt = one->repeated;
        for (int kind = 0; kind < KINDS; kind++)
            doubt |= one->open[kind];
    }
    pthread_mutex_unlock(&lock);
    return doubt;
}

/* Nobody asks any more; what its client still does is counted until that is gone. */
EXPORTED void scrub_watch_end(long token) {
    watch *one;
    pthread_mutex_lock(&lock);
    if ((one = found(token)))
        let_go(one);
    pthread_mutex_unlock(&lock);
}
/* The code of the first record since the last call that was not delivered, and its topic; 0 without one. */
EXPORTED int scrub_failed(long token, char *topic, size_t room) {
    watch *one;
    int code = 0;
    pthread_mutex_lock(&lock);
    if ((one = found(token)) && (code = one->failed)) {
        snprintf(topic, room, "%s", one->topic);
        one->failed = 0;
    }
    pthread_mutex_unlock(&lock);
    return code;
}

void *scrub_client(long token) {
    watch *one;
    void *handle;
    pthread_mutex_lock(&lock);
    one = found(token);
    handle = one ? one->handle : NULL;
    pthread_mutex_unlock(&lock);
    return handle;
}

enum { END, RKT = 2, PARTITION, VALUE, KEY, MSGFLAGS = 7, TIMESTAMP, HEADERS = 10 }; /* rd_kafka_vtype_t */
enum { COPY = 2 };                                                                  /* RD_KAFKA_MSG_F_COPY */

int client_produce(void *producer, void *topic, int32_t partition, const void *value, size_t size, const void *key,
                   size_t key_size, int64_t timestamp_ms, void *headers) {
    if (headers)
        return rd_kafka_producev(producer, RKT, topic, PARTITION, partition, MSGFLAGS, COPY, VALUE, value, size, KEY, key,
                                 key_size, TIMESTAMP, timestamp_ms, HEADERS, headers, END);
    return rd_kafka_producev(producer, RKT, topic, PARTITION, partition, MSGFLAGS, COPY, VALUE, value, size, KEY, key,
                             key_size, TIMESTAMP, timestamp_ms, END);
}
#endif
