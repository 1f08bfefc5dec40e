/* Answers to asks: each goes on asking to be taken, until the coordinator has it or says that it doesn't want
 * it. */
#include <errno.h>

#include "courier.h"

#define ANSWERS_MAX 32 /* the oldest give way */

struct answer {
    struct task task;
    TAILQ_ENTRY(answer) entry;
    char *envelope;
};

static void answer_free(struct answers *answers, struct answer *answer)
{
    TAILQ_REMOVE(&answers->list, answer, entry);
    answers->count--;
    task_clear(&answer->task);
    free(answer->envelope);
    free(answer);
}

static int answer_take(struct task *task, const struct web_call *call, json_t *reply, struct error *error)
{
    if (!reply)
        courier_say(error);
    answer_free(&task->courier->answers, (struct answer *)task);
    return 0;
}

static int answer_begin(struct task *task, struct error *error)
{
    return task_ask(task, "/v1/agent/answers", ((struct answer *)task)->envelope, COURIER_TIMEOUT_MSEC,
                    answer_take, error);
}

void answers_add(struct courier *courier, char *envelope)
{
    struct answer *answer = calloc(1, sizeof(*answer));
    struct answers *answers = &courier->answers;
    struct error error = {0};

    if (!answer || task_init(&answer->task, courier, answer_begin, &error) < 0) {
        error_set(&error, ENOMEM, "an answer is lost: out of memory");
        courier_say(&error);
        free(envelope);
        free(answer);
        return;
    }
    answer->envelope = envelope;
    TAILQ_INSERT_TAIL(&answers->list, answer, entry);
    if (++answers->count > ANSWERS_MAX)
        answer_free(answers, TAILQ_FIRST(&answers->list));
    task_go(&answer->task, answer_begin);
}

void answers_clear(struct answers *answers)
{
    while (answers->count)
        answer_free(answers, TAILQ_FIRST(&answers->list));
}
