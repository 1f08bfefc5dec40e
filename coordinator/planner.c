/* POST /v1/plan: choose, pin, ask every host, and answer with the draft and what each of them would do. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "plan.h"
#include "runs.h"

/** struct plan_request - one operator waiting for hosts' answers; the hosts asked are those of @run, which
 * never starts */
struct plan_request {
    struct waiting waiting;
    struct experiment *experiment;
    struct envelope *draft;
    struct run *run;
    int64_t until_usec;
    json_t *answers, *refused;
};

static void plan_clear(struct waiting *waiting)
{
    struct plan_request *plan = (struct plan_request *)waiting;

    experiment_free(plan->experiment);
    envelope_free(plan->draft);
    run_free(plan->run);
    json_decref(plan->answers);
    json_decref(plan->refused);
}

static void refuse(struct plan_request *plan, const char *host, const char *reason)
{
    json_array_append_new(plan->refused, json_pack("{s:s, s:s}", "host", host, "reason", reason));
}

static json_t *plan_budgets(struct runs *runs)
{
    struct balancer_budget budgets[16];
    size_t n = balancers_budgets(runs->coordinator->balancers, budgets, ARRAY_SIZE(budgets));
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, report_budget(&budgets[i]));
    return list;
}

static void plan_reply(struct plan_request *plan)
{
    struct runs *runs = plan->waiting.runs;
    _cleanup_free_ char *text = NULL;
    struct error share, error;

    if (run_check_share(plan->run, runs_group_size, runs->coordinator, &share) < 0) {
        node_error(plan->experiment->document,
                   node_get(plan->experiment->expect, "max_share_of_group_percent"), &error, "%s",
                   share.text);
        http_reply_error(plan->waiting.request, 422, "%s", error.text);
        return;
    }
    text = envelope_format(plan->draft);
    http_reply_json(plan->waiting.request, 200,
                    json_pack("{s:o, s:O, s:O, s:o}", "mandate",
                              text ? json_loads(text, 0, NULL) : json_null(), "answers", plan->answers,
                              "refused", plan->refused, "budgets", plan_budgets(runs)));
}

static bool plan_advance(struct waiting *waiting, int64_t now_usec)
{
    struct plan_request *plan = (struct plan_request *)waiting;
    bool is_complete = true;

    for (size_t i = 0; i < plan->run->n_hosts; i++)
        is_complete &= plan->run->hosts[i].has_answered;
    if (!is_complete && now_usec < plan->until_usec)
        return false;
    for (size_t i = 0; i < plan->run->n_hosts; i++)
        if (!plan->run->hosts[i].has_answered)
            refuse(plan, plan->run->hosts[i].id, "no answer within 10 s");
    plan_reply(plan);
    return true;
}

static void take_answer(struct plan_request *plan, struct run_host *asked, const struct node *root)
{
    const struct node *steps = node_get(root, "steps"), *is;
    const char *reason;

    asked->has_answered = true;
    json_array_append_new(plan->answers, node_to_json(root));
    for (const struct node *step = steps ? steps->first : NULL; step; step = step->next) {
        is = node_get(step, "is_victim");
        asked->is_victim |= is && is->type == DOCUMENT_BOOLEAN && is->boolean;
        is = node_get(step, "is_accepted");
        reason = node_string(step, "reason");
        if (is && is->type == DOCUMENT_BOOLEAN && !is->boolean)
            refuse(plan, asked->id, reason ? reason : "no reason given");
    }
}

void planner_on_answer(struct runs *runs, const char *host, const struct document *payload)
{
    const char *ask = node_string(document_root(payload), "ask");

    for (struct waiting *waiting = runs->waiting; waiting && ask; waiting = waiting->next) {
        struct plan_request *plan = (struct plan_request *)waiting;
        struct run_host *asked = waiting->advance == plan_advance ? run_host(plan->run, host) : NULL;

        if (asked && !asked->has_answered && !strcmp(asked->ask, ask))
            take_answer(plan, asked, document_root(payload));
    }
}

struct candidates {
    struct candidate *items;
    size_t count;
};

static int add_candidate(void *context, struct fleet_host *host)
{
    struct candidates *candidates = context;
    struct candidate *items = reallocarray(candidates->items, candidates->count + 1, sizeof(*items));

    if (!items)
        return -ENOMEM;
    candidates->items = items;
    items[candidates->count++] = (struct candidate){host->id, host->labels, fleet_is_in_contact(host)};
    return 0;
}

/* The draft: the exact bytes that people will sign. */
static int plan_draft(struct plan_request *plan, int64_t now_usec, struct error *error)
{
    struct coordinator *coordinator = plan->waiting.runs->coordinator;
    struct candidates candidates = {};
    _cleanup_free_ char *text = NULL;
    struct mandate *mandate;
    json_t *payload = NULL;
    int r;

    r = fleet_each(coordinator, add_candidate, &candidates);
    r = r < 0 ? error_oom(error)
              : plan_build(plan->experiment, candidates.items, candidates.count, coordinator->config.zones,
                           now_usec, &payload, error);
    free(candidates.items);
    if (r < 0)
        return r;
    text = json_dumps(payload, JSON_COMPACT);
    json_decref(payload);
    if (!text)
        return error_oom(error);
    r = envelope_new(&plan->draft, ENVELOPE_MANDATE, text, strlen(text), error);
    if (r == 0)
        r = mandate_parse(&mandate, text, strlen(text), error);
    if (r < 0)
        return r;
    r = run_new(&plan->run, "", mandate, now_usec, &runs_actions, coordinator, error);
    if (r == 0)
        r = experiment_check_faults(plan->experiment, plan->run->mandate, error);
    return r;
}

static int plan_open(struct plan_request *plan, const char *text, size_t length, struct error *error)
{
    struct coordinator *coordinator = plan->waiting.runs->coordinator;
    const struct experiment *experiment;
    int64_t now_usec = time_now_usec();
    int r;

    r = experiment_parse(&plan->experiment, "experiment", text, length, error);
    if (r < 0)
        return r;
    experiment = plan->experiment;
    if (strcmp(experiment->environment, coordinator->config.environment))
        return node_error(experiment->document, node_get(document_root(experiment->document), "environment"),
                          error, "this coordinator's environment is %s", coordinator->config.environment);
    r = plan_draft(plan, now_usec, error);
    if (r == 0)
        r = runs_store_mandate(coordinator, plan->draft, error);
    if (r < 0)
        return r;
    plan->until_usec = now_usec + RUN_CHECK_USEC;
    runs_fill_hosts(plan->run);
    for (size_t i = 0; i < plan->run->n_hosts && r == 0; i++) {
        struct run_host *host = &plan->run->hosts[i];

        r = runs_send_ask(coordinator, host->id, plan->run->mandate->hash, "plan", now_usec, host->ask,
                          error);
    }
    return r;
}

void runs_handle_plan(void *context, struct http_request *request)
{
    struct coordinator *coordinator = context;
    struct plan_request *plan;
    struct error error;

    if (coordinator_refuses(coordinator, request))
        return;
    plan = calloc(1, sizeof(*plan));
    if (!plan) {
        http_reply_error(request, 503, "out of memory");
        return;
    }
    plan->waiting = (struct waiting){NULL, coordinator->runs, request, plan_advance, plan_clear};
    plan->answers = json_array();
    plan->refused = json_array();
    if (plan_open(plan, request->body, request->length, &error) < 0) {
        plan_clear(&plan->waiting);
        free(plan);
        http_reply_error(request, 422, "%s", error.text);
        return;
    }
    balancers_watch(coordinator->balancers, true);
    runs_wait(&plan->waiting);
}
