/* What a holder says of its fault, made into events: a row for each state. */
#include <errno.h>
#include <string.h>

#include "supervised.h"

#define HEAR_BURST 32

/**
 * struct state_row - a word of docs/protocol.md
 * @at: the event's name for the message's `at`
 * @keys: what is passed on as it stands
 * @is_over: nothing of it is left when this is said
 */
struct state_row {
    const char *state, *kind, *at;
    enum slot_state next;
    bool is_over;
    const char *keys[4];
};

static const struct state_row states[] = {
    {"armed", "fault.armed", "armed_at", SLOT_ARMED, false, {"summary"}},
    {"exercised", "fault.exercised", "exercised_at", SLOT_EXERCISED, false, {"effect"}},
    {"reverted",
     "fault.reverted",
     "reverted_at",
     SLOT_OVER,
     true,
     {"revert_error_ms", "effect", "is_interfered"}},
    {"ended", "fault.ended", NULL, SLOT_OVER, true, {"effect"}},
    {"failed", "fault.failed", NULL, SLOT_OVER, false, {"reason", "is_reverted"}},
};

static const struct state_row *state_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(states) && name; i++)
        if (!strcmp(states[i].state, name))
            return &states[i];
    return NULL;
}

static void add_own_words(const struct slot *slot, const struct state_row *row, const json_t *said,
                          json_t *body)
{
    static const char *const ended_by[] = {"deadline", "halt", "executor"};
    /* A holder may have seen the halt file before we did. */
    enum supervisor_end end = json_is_true(json_object_get(said, "is_halted")) ? SUPERVISOR_HALT : slot->end;
    char text[TIME_TEXT_MAX];

    if (row->next == SLOT_ARMED)
        json_object_set_new(body, "deadline", json_string(time_format(slot->deadline_real_usec, text)));
    if (row->is_over && row->at)
        json_object_set_new(body, "ended_by", json_string(ended_by[end]));
}

static json_t *make_body(const struct slot *slot, const struct state_row *row, const json_t *said)
{
    json_t *body = json_object();

    if (row->at)
        json_object_set(body, row->at, json_object_get(said, "at"));
    for (size_t i = 0; i < ARRAY_SIZE(row->keys) && row->keys[i]; i++)
        json_object_set(body, row->keys[i], json_object_get(said, row->keys[i]));
    add_own_words(slot, row, said, body);
    return body;
}

static void slot_remember_effect(struct slot *slot, json_t *effect)
{
    if (!effect)
        return;
    json_decref(slot->effect);
    slot->effect = json_incref(effect);
}

static int slot_on_state(void *context, struct message *message, struct error *error)
{
    struct slot *slot = context;
    json_t *said = json_loadb(message->body, message->length, JSON_REJECT_DUPLICATES, NULL);
    const struct state_row *row = state_find(json_string_value(json_object_get(said, "state")));

    if (!row || slot->state == SLOT_OVER || row->next < slot->state) {
        json_decref(said);
        return error_set(error, EPROTO, "holder of order %s: unexpected state", slot->order);
    }
    slot->state = row->next;
    slot_remember_effect(slot, json_object_get(said, "effect"));
    slot->has_failed = row->next == SLOT_OVER && !row->is_over;
    slot->has_ended = row->is_over || json_is_true(json_object_get(said, "is_reverted"));
    slot_event(slot, row->kind, make_body(slot, row, said));
    json_decref(said);
    if (row->next == SLOT_ARMED)
        slot->supervisor->events->changed(slot->supervisor->context);
    return 0;
}

int slot_hear(struct slot *slot, struct error *error)
{
    static const struct channel_row rows[] = {
        {CHANNEL_STATE, "state", CHANNEL_HOLDER, 2, CHANNEL_BODY_MAX, false, slot_on_state},
        {0},
    };
    int r = 1;

    for (int i = 0; i < HEAR_BURST && r == 1; i++)
        r = channel_receive(slot->channel, CHANNEL_HOLDER, rows, slot, error);
    return r < 0 ? r : 0;
}
