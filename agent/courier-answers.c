/* Answers to asks, one after the other, until the coordinator has them or says that it doesn't want them. */
#include <errno.h>
#include <string.h>
#include <sys/queue.h>

#include "courier.h"

#define ANSWERS_MAX 32 /* an ask is good for 10 minutes; the oldest give way */

struct answer {
    TAILQ_ENTRY(answer) entry;
    char *envelope;
};

struct answers {
    struct courier *courier;
    struct web_request *request;
    struct event *timer;
    struct backoff backoff;
    TAILQ_HEAD(, answer) queue;
    size_t count;
};

static void answers_post(struct answers *answers);

static void answers_drop_first(struct answers *answers)
{
    struct answer *answer = TAILQ_FIRST(&answers->queue);

    TAILQ_REMOVE(&answers->queue, answer, entry);
    answers->count--;
    free(answer->envelope);
    free(answer);
}

static void answers_try_later(struct answers *answers, const struct error *error)
{
    struct timeval wait;

    if (answers->backoff.failures < answers->courier->n_urls)
        courier_say(answers->courier, error);
    wait = backoff_next(&answers->backoff);
    event_add(answers->timer, &wait);
}

static void answers_on_posted(struct web_request *request, CURLcode code, void *context)
{
    _cleanup_(web_request_freep) struct web_request *finished = request;
    struct answers *answers = context;
    struct error error = {0};
    json_t *reply = NULL;
    int r;

    answers->request = NULL;
    r = courier_answer(answers->courier, finished, code, &reply, &error);
    json_decref(reply);
    if (r < 0 && (code != CURLE_OK || web_status(finished) >= 500)) {
        answers_try_later(answers, &error);
        return;
    }
    if (r < 0)
        courier_say(answers->courier, &error);
    backoff_reset(&answers->backoff);
    answers_drop_first(answers);
    answers_post(answers);
}

static void answers_post(struct answers *answers)
{
    struct answer *answer = TAILQ_FIRST(&answers->queue);
    struct error error = {0};

    if (!answer || answers->request || evtimer_pending(answers->timer, NULL))
        return;
    if (courier_request(answers->courier, &answers->request, "/v1/agent/answers", answer->envelope,
                        COURIER_ANSWER_MAX, COURIER_TIMEOUT_MSEC, answers_on_posted, answers, &error) < 0)
        answers_try_later(answers, &error);
}

static void answers_on_timer(evutil_socket_t fd, short what, void *context)
{
    answers_post(context);
}

void answers_add(struct answers *answers, char *envelope)
{
    struct answer *answer = calloc(1, sizeof(*answer));
    struct error error = {0};

    if (!answer || (answers->count == ANSWERS_MAX && answers->request)) {
        error_set(&error, ENOBUFS, "an answer is lost: too many are waiting");
        courier_say(answers->courier, &error);
        free(envelope);
        free(answer);
        return;
    }
    if (answers->count == ANSWERS_MAX)
        answers_drop_first(answers);
    answer->envelope = envelope;
    TAILQ_INSERT_TAIL(&answers->queue, answer, entry);
    answers->count++;
    answers_post(answers);
}

int answers_new(struct answers **ret, struct courier *courier, struct error *error)
{
    struct answers *answers = calloc(1, sizeof(*answers));

    if (!answers)
        return error_oom(error);
    answers->courier = courier;
    TAILQ_INIT(&answers->queue);
    answers->timer = evtimer_new(courier->base, answers_on_timer, answers);
    if (!answers->timer) {
        free(answers);
        return error_oom(error);
    }
    *ret = answers;
    return 0;
}

struct answers *answers_free(struct answers *answers)
{
    if (!answers)
        return NULL;
    web_request_free(answers->request);
    while (answers->count)
        answers_drop_first(answers);
    event_free(answers->timer);
    free(answers);
    return NULL;
}
