/* A holder's words to its executor: CHANNEL_STATE messages of docs/protocol.md. */
#include <string.h>

#include "holder-life.h"

#define FORM (JSON_COMPACT | JSON_REAL_PRECISION(12)) /* no 15.140000000000001 */

static void send_text(const char *text)
{
    if (text)
        channel_send(CHANNEL_FD, CHANNEL_STATE, text, strlen(text), -1);
}

/* Takes @body. Findings that don't fit into a message are left out, so that the state itself arrives. */
static void say(json_t *body, const char *findings)
{
    _cleanup_free_ char *whole = json_dumps(body, FORM), *bare = NULL;

    if (whole && strlen(whole) <= CHANNEL_BODY_MAX) {
        send_text(whole);
    } else {
        json_object_set_new(body, findings, strcmp(findings, "effect") == 0 ? json_object() : json_array());
        bare = json_dumps(body, FORM);
        send_text(bare);
    }
    json_decref(body);
}

void holder_say_armed(const struct holder *holder)
{
    char at[TIME_TEXT_MAX];

    say(json_pack("{s:s, s:s, s:O}", "state", "armed", "at", time_format(time_now_usec(), at), "summary",
                  holder->plan.summary),
        "summary");
}

void holder_say_exercised(const struct holder *holder)
{
    char at[TIME_TEXT_MAX];

    say(json_pack("{s:s, s:s, s:O}", "state", "exercised", "at", time_format(time_now_usec(), at), "effect",
                  holder->effect),
        "effect");
}

/* Microseconds are what the clock gives; more digits would be noise. */
static double error_msec(int64_t nsec)
{
    return (double)(nsec / NSEC_PER_USEC) / 1000.0;
}

void holder_say_reverted(const struct holder *holder, int64_t done_boot_nsec)
{
    int64_t at_usec = time_now_usec() - (time_boot_nsec() - done_boot_nsec) / NSEC_PER_USEC;
    char at[TIME_TEXT_MAX];

    say(json_pack("{s:s, s:s, s:f, s:O, s:b, s:b}", "state", "reverted", "at", time_format(at_usec, at),
                  "revert_error_ms", error_msec(done_boot_nsec - holder->over_boot_nsec), "effect",
                  holder->effect, "is_interfered", holder->is_interfered, "is_halted", holder->is_halted),
        "effect");
}

void holder_say_ended(const struct holder *holder)
{
    say(json_pack("{s:s, s:O}", "state", "ended", "effect", holder->effect), "effect");
}

void holder_say_failed(const struct holder *holder, const struct error *error, bool is_reverted)
{
    say(json_pack("{s:s, s:s, s:b}", "state", "failed", "reason", error->text, "is_reverted", is_reverted),
        "reason");
}
