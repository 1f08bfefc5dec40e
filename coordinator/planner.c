/* POST /v1/plan: choose, pin, ask every host, and answer with the draft and what each of them would do. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "faults/fault.h"
#include "plan.h"
#include "runs.h"

/** struct plan_request - one operator waiting for hosts' answers; the run that asks them never starts */
struct plan_request {
    struct waiting waiting;
    struct experiment *experiment;
    struct envelope *draft;
};

static void plan_clear(struct waiting *waiting)
{
    struct plan_request *plan = (struct plan_request *)waiting;

    experiment_free(plan->experiment);
    envelope_free(plan->draft);
    run_free(waiting->run);
}

static void plan_reply(struct plan_request *plan)
{
    const struct run *run = plan->waiting.run;
    _cleanup_free_ char *text = NULL;
    struct balancer_budget budgets[16];
    struct error share, error;
    json_t *answers;
    size_t n;

    if (run_check_share(run, &share) < 0) {
        node_error(plan->experiment->document,
                   node_get(plan->experiment->expect, "max_share_of_group_percent"), &error, "%s",
                   share.text);
        http_reply_failure(plan->waiting.request, &error);
        return;
    }
    answers = json_array();
    EACH_HOST (run, host)
        json_array_append(answers, host->answer);
    text = envelope_format(plan->draft);
    n = balancers_budgets(run->coordinator->balancers, budgets, ARRAY_SIZE(budgets));
    http_reply_json(plan->waiting.request, 200,
                    json_pack("{s:o?, s:o, s:o, s:o}", "mandate", text ? json_loads(text, 0, NULL) : NULL,
                              "answers", answers, "refused", report_refused(run), "budgets",
                              report_budgets(budgets, n)));
}

static bool plan_advance(struct waiting *waiting, int64_t now_usec)
{
    struct plan_request *plan = (struct plan_request *)waiting;
    bool is_complete = true;

    EACH_HOST (waiting->run, asked)
        is_complete &= asked->has_answered;
    if (!is_complete && now_usec < waiting->run->since_usec + RUN_CHECK_USEC)
        return false;
    plan_reply(plan);
    return true;
}

int plan_check_faults(const struct experiment *experiment, const struct mandate *mandate, struct error *error)
{
    for (size_t i = 0; i < experiment->n_steps; i++) {
        const struct experiment_step *step = &experiment->steps[i];
        const struct fault *fault = fault_find(step->fault);
        const void *parameters;
        int r;

        if (!fault)
            return node_error(experiment->document, node_get(step->node, "fault"), error,
                              "there is no fault %s", step->fault);
        r = fault_decode_parameters(fault, experiment->document, step->parameters, mandate, &parameters,
                                    error);
        if (r < 0)
            return r;
    }
    return 0;
}

int plan_check_times(const struct experiment *experiment, const struct mandate *mandate, struct error *error)
{
    const struct node *root = document_root(experiment->document);

    for (const struct step *step = mandate->steps; step < mandate->steps + mandate->n_steps; step++) {
        int64_t start_sec = (mandate->warmup_msec - step->duration_msec) / 1000 +
                            mandate_way_usec(mandate, step, 0) / USEC_PER_SEC;

        if (start_sec >= experiment->valid_for_sec)
            return node_error(experiment->document, node_get(root, "valid_for_s") ?: root, error,
                              "step %s starts %lld s after the run, the mandate is valid for %lld s",
                              step->name, (long long)start_sec, (long long)experiment->valid_for_sec);
    }
    return 0;
}

/* The draft: the exact bytes that people will sign. */
static int plan_draft(struct plan_request *plan, int64_t now_usec, struct error *error)
{
    struct coordinator *coordinator = plan->waiting.runs->coordinator;
    _cleanup_free_ struct candidate *candidates = NULL;
    struct candidate *candidate;
    const struct fleet_host *host;
    size_t n = 0;
    _cleanup_free_ char *text = NULL;
    struct mandate *mandate;
    json_auto_t *payload = NULL;
    int r;

    for (size_t i = 0; (host = fleet_at(coordinator, i)); i++) {
        candidate = array_add(&candidates, &n, sizeof(*candidate));
        if (candidate)
            *candidate = (struct candidate){host->id, host->labels, fleet_is_in_contact(host)};
    }
    r = plan_build(plan->experiment, candidates, n, coordinator->config.zones, now_usec, &payload, error);
    if (r < 0)
        return r;
    text = json_dumps(payload, JSON_COMPACT);
    if (!text)
        return error_oom(error);
    r = envelope_new(&plan->draft, ENVELOPE_MANDATE, text, strlen(text), error);
    if (r == 0)
        r = mandate_parse(&mandate, text, strlen(text), error);
    if (r < 0)
        return r;
    r = run_new(&plan->waiting.run, "", mandate, now_usec, coordinator, error);
    if (r == 0)
        r = plan_check_times(plan->experiment, plan->waiting.run->mandate, error);
    return r < 0 ? r : plan_check_faults(plan->experiment, plan->waiting.run->mandate, error);
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
    run_look(plan->waiting.run);
    EACH_HOST (plan->waiting.run, asked)
        run_ask(plan->waiting.run, asked, "plan", now_usec);
    return 0;
}

int runs_handle_plan(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    struct plan_request *plan = calloc(1, sizeof(*plan));
    int r;

    if (!plan)
        return error_oom(error);
    plan->waiting = (struct waiting){
        .runs = coordinator->runs, .request = request, .advance = plan_advance, .clear = plan_clear};
    r = plan_open(plan, request->body, request->length, error);
    if (r < 0) {
        plan_clear(&plan->waiting);
        free(plan);
        return r;
    }
    balancers_watch(coordinator->balancers, true);
    runs_wait(&plan->waiting);
    return 0;
}
