/*
 * May it happen here? One path decides about an order and answers an ask, so that an answer says what the
 * order will meet. Bytes are verified first and parsed only then; every refusal is one reason that names the
 * place.
 */
#pragma once

#include "common/bundle.h"
#include "common/mandate.h"
#include "common/roots.h"
#include "policy.h"
#include "replay.h"

#define EARLY_TOLERANCE_USEC (5 * USEC_PER_SEC) /* clocks differ; the deadline never moves for it */

/**
 * struct admission - all that a decision rests on; everything borrowed
 * @closed: why no order at all is taken just now, NULL = orders are taken
 * @latest_usec: @now_usec, or more if the clock was set back: for windows that close
 * @count_active: faults of a class under way
 */
struct admission {
    const struct policy *policy;
    const struct roots *roots;
    const struct replay *replay;
    const struct fault_host *host;
    const char *closed;
    int64_t now_usec, latest_usec, now_boot_nsec;
    bool is_clock_synchronised;
    size_t (*count_active)(const void *context, const char *class);
    const void *context;
};

/**
 * struct decision - one step on one host: what is asked, and what came of it, as far as it went
 * @bundle, @order, @mandate: owned where @order is set; an ask has no order, and its mandate is borrowed
 * @ask: NULL for an order
 * @signed_by: the mandate's envelope, whose signatures have to be enough; NULL: a draft
 * @step, @fault: NULL for the step "observe"
 * @start_boot_nsec, @end_usec, @end_boot_nsec: of an order: when it is too late to start, and when it has to
 * be over
 */
struct decision {
    const struct admission *rests_on; /* while it is made */
    struct bundle bundle;
    struct order *order;
    struct mandate *mandate;
    const struct envelope *signed_by;
    const struct ask *ask;
    const char *step_name;
    const struct step *step;
    const struct fault *fault;
    const struct policy_class *class;
    const void *parameters;
    bool is_late_joiner;
    int64_t start_boot_nsec, end_usec, end_boot_nsec;
};

void decision_clear(struct decision *decision);

/** admission_order() - @fd: a bundle of order and mandate; @ret: empty. Return: 0 = may start now; -errno =
 * refused, with the reason, -EALREADY where the very same order was let in before */
int admission_order(const struct admission *admission, int fd, struct decision *ret, struct error *error);

/** admission_ask() - @fd: a bundle of ask and mandate; only what must hold before an answer is worked out */
int admission_ask(const struct admission *admission, int fd, struct bundle *ret_bundle, struct ask **ret,
                  struct error *error);
/**
 * admission_answer() - go through every step of this host in the mandate
 * Return: {"is_accepted", "steps" [...]} of docs/protocol.md, owned by the caller; NULL when out of memory
 */
json_t *admission_answer(const struct admission *admission, const struct ask *ask,
                         const struct envelope *mandate);
/** admission_answer_no() - the same for an ask that can't be answered step by step */
json_t *admission_answer_no(const struct error *why);

/* ---- admission-window.c */

int admission_check_window(const struct admission *admission, const struct order *order,
                           const struct mandate *mandate, struct error *error);
/** admission_check_open() - is the class's window open from the start to the end: of an order, of a step that
 * is about to be started, or of a planned one at any time while the mandate is valid? */
int admission_check_open(struct decision *decision, struct error *error);
/** admission_tell_windows() - add to @limits when the class may do anything, if not always */
void admission_tell_windows(const struct decision *decision, json_t *limits);
/** admission_set_times() - of an order that may start */
void admission_set_times(const struct admission *admission, struct decision *decision);
