/* A run without the world: its actions are counted, its time is made up, its hosts say what the test says. */
#pragma once

#include "coordinator/run-state.h"

#define T        (1800000000LL * USEC_PER_SEC) /* when the run is created */
#define MSEC(n)  ((n)*USEC_PER_MSEC)
#define SEC(n)   ((n)*USEC_PER_SEC)
#define HOSTS    3
#define DURATION SEC(20)

/** struct seen - what the run did so far */
struct seen {
    int asks, orders, halts, nudges, finishes;
    json_t *records; /* [{at, kind, body}]; as long as the run */
    bool refuses_orders;
};
extern struct seen seen;
extern const char *const fixture_hosts[HOSTS]; /* a1, a2, b1 of group web; the observer is obs */
extern const char *fixture_more_steps;         /* JSON that follows the first step, "" */

/** fixture_new() - a new run of the mandate @text at T */
struct run *fixture_new(const char *text);
/** fixture_run() - a new run at T; @objectives: JSON list */
struct run *fixture_run(const char *objectives, int require_percent);
/** fixture_says() - an event of @host; @step NULL = none; @body: JSON */
void fixture_says(struct run *run, const char *host, const char *kind, const char *step, const char *body,
                  int64_t at_usec);
void fixture_answer(struct run *run, const char *host, bool is_accepted, const char *reason);
/** fixture_join() - @id of group web joins */
void fixture_join(struct run *run, const char *id, const char *address, int64_t at_usec);
/** fixture_order() - of the step's fault, to @host */
void fixture_order(struct run *run, const char *host, int64_t at_usec);
/** fixture_has_line() - were people told something with these words? */
bool fixture_has_line(const struct run *run, const char *words);
/** fixture_samples() - the observer's samples of `shop` from..until every 200 ms, failing within
 * bad_from..bad_until */
void fixture_samples(struct run *run, int64_t from_usec, int64_t until_usec, int64_t bad_from_usec,
                     int64_t bad_until_usec);
/** fixture_samples_of() - the same of one probe, as @from saw it */
void fixture_samples_of(struct run *run, const char *from, const char *probe, int64_t from_usec,
                        int64_t until_usec, int64_t bad_from_usec, int64_t bad_until_usec);
void fixture_arm(struct run *run, const char *host, int64_t at_usec);
void fixture_exercise(struct run *run, const char *host, int64_t at_usec);
void fixture_revert(struct run *run, const char *host, int64_t at_usec, double late_msec);
/** fixture_begin() - all agree, and the first steps start */
void fixture_begin(struct run *run);
/** fixture_start() - up to `running`: steps start at T + 3 s, t0 is 100 ms later, all exercised */
struct run *fixture_start(const char *objectives);
/** fixture_finish() - from there to `done` with fresh heads, if @has_heads; users lose @bad_msec from t0 +
 * 200 ms on */
void fixture_finish(struct run *run, int64_t bad_msec, bool has_heads);
void fixture_clocks(struct run *run, int64_t bound_usec);
/** fixture_server() - what the balancer says of the slot with @address */
void fixture_server(struct run *run, const char *address, const char *state, int64_t at_usec);

/* A second step, process.kill "kill" on a1 and b1 after the first one. */
extern const char fixture_kill_after[];
/** fixture_start_steps() - up to the first step's end, which all but a1 have proved */
struct run *fixture_start_steps(const char *objectives, const char *more_steps);
/** fixture_agree() - the next step is due, and a1 and b1 would do it: it starts */
void fixture_agree(struct run *run, int64_t now_usec);
/** fixture_start_second() - on to the start of fixture_kill_after, 1 s later */
struct run *fixture_start_second(const char *objectives);
/** fixture_end_second() - on to `done`, with fresh heads; users lose 100 ms..@bad_usec after its t0 */
void fixture_end_second(struct run *run, int64_t bad_usec);
/** fixture_kill() - what @host says of its order for @step, a process.kill */
void fixture_kill(struct run *run, const char *step, const char *host, const char *kind, int64_t at_usec);

#define STEPS_AT (T + SEC(3))
#define ENDS_AT  (STEPS_AT + DURATION) /* of the first step */
#define T0       (STEPS_AT + MSEC(100))
