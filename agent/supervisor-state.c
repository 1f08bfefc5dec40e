/* What a holder says of its fault, made into events: a row for each state. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "supervised.h"

#define HEAR_BURST 32

/** struct state_row - a word of docs/protocol.md; @is_over: nothing of it is left when this is said */
struct state_row {
    const char *state;
    enum slot_state next;
    bool is_over;
};

static const struct state_row states[] = {
    {"armed", SLOT_ARMED, false}, {"exercised", SLOT_EXERCISED, false}, {"reverted", SLOT_OVER, true},
    {"ended", SLOT_OVER, true},   {"failed", SLOT_OVER, false},
};

static const struct state_row *state_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(states) && name; i++)
        if (!strcmp(states[i].state, name))
            return &states[i];
    return NULL;
}

/* The body is passed on as it stands: a holder that has been taken over may lie about its own fault only. */
static void slot_on_said(struct slot *slot, const struct state_row *row, json_t *body)
{
    static const char *const ended_by[] = {NULL, "halt", "executor"};
    json_t *effect = json_object_get(body, "effect");
    char kind[32];

    slot->state = row->next;
    slot->has_failed = row->next == SLOT_OVER && !row->is_over;
    slot->has_ended = row->is_over || json_is_true(json_object_get(body, "is_reverted"));
    if (effect) {
        json_decref(slot->effect);
        slot->effect = json_incref(effect);
    }
    if (slot->end && json_object_get(body, "ended_by"))
        json_object_set_new(body, "ended_by", json_string(ended_by[slot->end]));
    snprintf(kind, sizeof(kind), "fault.%s", row->state);
    slot_event(slot, kind, json_incref(body));
    if (row->next == SLOT_ARMED)
        slot->supervisor->events->changed(slot->supervisor->context);
}

static int slot_on_state(void *context, struct message *message, struct error *error)
{
    struct slot *slot = context;
    json_t *said = json_loadb(message->body, message->length, JSON_REJECT_DUPLICATES, NULL);
    json_t *body = json_object_get(said, "body");
    const struct state_row *row = state_find(json_string_value(json_object_get(said, "state")));
    int r = 0;

    if (row && json_is_object(body) && slot->state != SLOT_OVER && row->next >= slot->state)
        slot_on_said(slot, row, body);
    else
        r = error_set(error, EPROTO, "holder of order %s: unexpected state", slot->order);
    json_decref(said);
    return r;
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
