/*
 * Is a coordinator there? Without any for too long every fault ends early. And boot readiness: a replacement
 * born during a zone outage has to lose the zone before it fetches anything, so whoever waits is answered
 * when a coordinator was reached and what it ordered is armed, or when time is up. And what root is told.
 */
#include <stdio.h>
#include <string.h>

#include "executor.h"

#define READY_SECONDS 15

int executor_on_contact(void *context, struct message *message, struct error *error)
{
    struct executor *executor = ((struct peer *)context)->executor;
    struct contact *contact = &executor->contact;
    const char *coordinator = NULL;
    json_auto_t *body = message_unpack(message, error, "{s?s}", "coordinator", &coordinator);

    if (!body)
        return -EINVAL;
    if (coordinator && lifeline_report(&contact->reported, executor->policy, coordinator, error) < 0)
        return -EINVAL;
    snprintf(contact->coordinator, sizeof(contact->coordinator), "%s", coordinator ? coordinator : "");
    contact->poll_usec = time_now_usec();
    contact->heard_boot_nsec = time_boot_nsec();
    executor_check_ready(executor);
    return 0;
}

/* ---- readiness */

static const char *why_not_ready(const struct executor *executor)
{
    bool is_arming = executor->waiting != NULL;
    const struct slot *fault = NULL;

    if (!executor->contact.poll_usec)
        return "no coordinator was reached";
    while ((fault = supervisor_next(executor->supervisor, fault)))
        is_arming |= fault->state == SLOT_ARMING;
    return is_arming ? "a fault is not armed yet" : NULL;
}

static void answer_ready(struct peer *peer)
{
    _cleanup_free_ char *text = json_dumps(peer->executor->contact.ready, JSON_COMPACT);

    peer->awaits = 0;
    if (text)
        peer_send(peer, CHANNEL_READY, "%s", text);
}

void executor_check_ready(struct executor *executor)
{
    struct contact *contact = &executor->contact;
    const char *reason = why_not_ready(executor);
    int64_t waited_nsec = time_boot_nsec() - contact->started_boot_nsec;

    if (contact->ready || (reason && waited_nsec < READY_SECONDS * NSEC_PER_SEC))
        return;
    contact->ready = json_pack("{s:b s:I s:s*}", "is_ready", !reason, "waited_ms",
                               (json_int_t)(waited_nsec / NSEC_PER_MSEC), "reason", reason);
    executor_record(executor, "agent.ready", NULL, NULL, NULL, json_incref(contact->ready));
    for (size_t i = 0; i < EXECUTOR_PEERS_MAX; i++)
        if (executor->peers[i].awaits == CHANNEL_READY)
            answer_ready(&executor->peers[i]);
}

int executor_on_wait_ready(void *context, struct message *message, struct error *error)
{
    struct peer *peer = context;

    peer->awaits = CHANNEL_READY;
    if (peer->executor->contact.ready)
        answer_ready(peer);
    return 0;
}

/* ---- once a second */

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    struct executor *executor = context;
    int64_t now = time_boot_nsec(), quiet_nsec = now - executor->contact.heard_boot_nsec;
    char text[TIME_TEXT_MAX];

    executor_check_ready(executor);
    if (quiet_nsec < executor->policy->lost_contact_after_s * NSEC_PER_SEC ||
        !supervisor_count(executor->supervisor, NULL))
        return;
    executor->contact.heard_boot_nsec = now; /* once an outage, not with every tick */
    executor_end_all(executor, NULL, SUPERVISOR_EXECUTOR, "host",
                     "no coordinator was reached for lost_contact_after_s");
    executor_record(
        executor, "contact.lost", NULL, NULL, NULL,
        json_pack("{s:s}", "since", time_format(time_now_usec() - quiet_nsec / NSEC_PER_USEC, text)));
}

int executor_open_contact(struct executor *executor, struct error *error)
{
    const struct timeval tick = {.tv_sec = 1};

    executor->contact.started_boot_nsec = executor->contact.heard_boot_nsec = time_boot_nsec();
    return executor_event(executor, -1, EV_PERSIST, on_tick, &tick) ? 0 : error_oom(error);
}

/* ---- status */

static json_t *fault_to_json(const char *order, const char *run, const char *step, const char *fault,
                             const char *state, int64_t deadline_usec, double seconds_left)
{
    char text[TIME_TEXT_MAX];

    return json_pack("{s:s s:s s:s s:s s:s s:s s:f}", "order", order, "run", run, "step", step, "fault",
                     fault, "state", state, "deadline", time_format(deadline_usec, text), "seconds_left",
                     seconds_left);
}

static json_t *faults_to_json(const struct executor *executor)
{
    json_t *list = json_array();
    const struct slot *fault = NULL;

    while ((fault = supervisor_next(executor->supervisor, fault)))
        json_array_append_new(list, fault_to_json(fault->order, fault->run, fault->step, fault->fault->name,
                                                  slot_state_name(fault), fault->deadline_real_usec,
                                                  (double)(fault->deadline_boot_nsec - time_boot_nsec()) /
                                                      (double)NSEC_PER_SEC));
    for (size_t i = 0; i < EXECUTOR_WATCHES_MAX; i++) {
        const char *order, *run;
        json_int_t until_usec;

        if (json_unpack(executor->watches[i].body, "{s:s s:s s:I}", "order", &order, "run", &run,
                        "until_usec", &until_usec) == 0)
            json_array_append_new(
                list, fault_to_json(order, run, MANDATE_OBSERVE, MANDATE_OBSERVE, "watching", until_usec,
                                    (double)(until_usec - time_now_usec()) / (double)USEC_PER_SEC));
    }
    return list;
}

static json_t *journal_to_json(const struct journal *journal)
{
    return journal ? json_pack("{s:I s:I}", "last", (json_int_t)journal_last(journal, NULL), "acknowledged",
                               (json_int_t)journal_acknowledged(journal))
                   : json_null();
}

int executor_on_status(void *context, struct message *message, struct error *error)
{
    struct executor *executor = ((struct peer *)context)->executor;
    const struct contact *contact = &executor->contact;
    char boot[BOOT_ID_MAX], text[TIME_TEXT_MAX];
    bool is_quarantined = executor->replay && time_now_usec() < replay_quarantine_usec(executor->replay);
    json_t *json =
        json_pack("{s:s s:s s:s s:s? s:s? s:o s:o s:b s:b s:s? s:O?}", "host", executor->policy->host,
                  "environment", executor->policy->environment, "boot", time_boot_id(boot), "coordinator",
                  *contact->coordinator ? contact->coordinator : NULL, "coordinator_last_contact",
                  contact->poll_usec ? time_format(contact->poll_usec, text) : NULL, "faults",
                  faults_to_json(executor), "journal", journal_to_json(executor->events.journal),
                  "is_quarantined", is_quarantined, "is_halted", executor->halts.has_file, "broken",
                  *executor->broken ? executor->broken : NULL, "clock", executor->events.clock);
    _cleanup_free_ char *status = json_dumps(json, JSON_COMPACT);

    if (!status)
        return error_oom(error);
    peer_send_large(context, CHANNEL_STATUS_IS, status, strlen(status));
    return 0;
}
