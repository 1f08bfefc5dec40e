/*
 * Does something keep REALTIME right? The kernel knows; where systemd's ProtectClock= forbids to ask it
 * (EPERM for all of adjtimex(2), reading too), systemd-timedated is asked over the system bus. Nothing waits
 * for that bus but what needs the answer: it may hang for as long as it likes, and a halt has to get through.
 * Source of the property: org.freedesktop.timedate1(5).
 */
#include <errno.h>
#include <string.h>
#include <sys/poll.h>

#include "executor.h"

#define TIMEDATED      "org.freedesktop.timedate1"
#define TIMEDATED_PATH "/org/freedesktop/timedate1"
#define PATIENCE_SEC   1
#define YES_HOLDS_NSEC (60 * NSEC_PER_SEC)
#define NO_HOLDS_NSEC  NSEC_PER_SEC

bool executor_is_clock_right(const struct executor *executor)
{
    return !executor->policy->requires_synchronised_clock || executor->clock.is_right;
}

int64_t executor_latest_usec(struct executor *executor, int64_t now_usec, int64_t now_boot_nsec)
{
    int64_t boot_usec = now_boot_nsec / NSEC_PER_USEC;

    if (!executor->boot_at_usec && executor_is_clock_right(executor))
        executor->boot_at_usec = now_usec - boot_usec;
    return executor->boot_at_usec + boot_usec > now_usec ? executor->boot_at_usec + boot_usec : now_usec;
}

/* From the first time that it is right it is watched. What is over is forgotten once in a life, while no
 * fault could be kept from its end by a disk that hangs. */
static void on_known(struct executor *executor)
{
    int64_t now_usec = time_now_usec();
    struct error error = {0};

    if (!executor_is_clock_right(executor))
        return;
    executor_latest_usec(executor, now_usec, time_boot_nsec());
    if (executor->clock.has_forgotten || !executor->replay || executor->events.is_syncing ||
        supervisor_count(executor->supervisor, NULL))
        return;
    executor->clock.has_forgotten = true;
    if (replay_forget(executor->replay, REPLAY_PATH, now_usec, &error) < 0)
        executor_say(LOG_LEVEL_WARNING, "replay memory: nothing is forgotten: %s", error.text);
}

/* ---- the bus */

static void hang_up(struct clock *clock)
{
    if (clock->io)
        event_free(clock->io);
    clock->io = NULL;
    event_del(clock->late);
    clock->bus = sd_bus_close_unref(clock->bus); /* without flushing, which would wait */
}

/* Who can't be asked counts as no. @r: 1, 0 or -errno */
static void take_answer(struct executor *executor, int r)
{
    struct clock *clock = &executor->clock;

    if (r < 0)
        executor_say(LOG_LEVEL_WARNING,
                     "the clock counts as not synchronised: systemd-timedated can't be asked: %s",
                     strerror(-r));
    clock->is_right = r > 0;
    clock->holds_until_nsec = time_boot_nsec() + (r > 0 ? YES_HOLDS_NSEC : NO_HOLDS_NSEC);
    hang_up(clock);
    on_known(executor);
}

/* What came while it was not known. */
static void judge_waiting(struct executor *executor)
{
    struct clock *clock = &executor->clock;
    size_t count = clock->n_waiting;

    clock->n_waiting = 0;
    for (size_t i = 0; i < count; i++) {
        _cleanup_close_ int fd = clock->waiting[i].fd;

        clock->waiting[i].judge(executor, fd);
    }
}

static void on_late(evutil_socket_t fd, short what, void *context)
{
    take_answer(context, -ETIMEDOUT);
    judge_waiting(context);
}

static int on_reply(sd_bus_message *reply, void *context, sd_bus_error *unused)
{
    struct clock *clock = context;
    int is_synchronised = 0, r = -sd_bus_message_get_errno(reply);

    if (r == 0)
        r = sd_bus_message_read(reply, "v", "b", &is_synchronised);
    clock->reply = r < 0 ? r : is_synchronised;
    return 0;
}

static void on_io(evutil_socket_t fd, short what, void *context);

/* As far as it goes without waiting; what the bus waits for changes with each step of its greeting.
 * Return: the reply, or -EINPROGRESS = on_io() goes on */
static int go_on(struct executor *executor)
{
    struct clock *clock = &executor->clock;
    int r, wanted;

    do
        r = sd_bus_process(clock->bus, NULL);
    while (r > 0 && clock->reply == -EINPROGRESS);
    if (r < 0 || clock->reply != -EINPROGRESS)
        return r < 0 ? r : clock->reply;
    wanted = sd_bus_get_events(clock->bus);
    if (wanted < 0)
        return wanted;
    if (clock->io)
        event_free(clock->io);
    clock->io = event_new(executor->base, sd_bus_get_fd(clock->bus),
                          EV_READ | (wanted & POLLOUT ? EV_WRITE : 0), on_io, executor);
    return clock->io && event_add(clock->io, NULL) == 0 ? -EINPROGRESS : -ENOMEM;
}

static void on_io(evutil_socket_t fd, short what, void *context)
{
    int r = go_on(context);

    if (r == -EINPROGRESS)
        return;
    take_answer(context, r);
    judge_waiting(context);
}

static int ask_timedated(struct executor *executor)
{
    const struct timeval patience = {.tv_sec = PATIENCE_SEC};
    struct clock *clock = &executor->clock;
    int r = sd_bus_open_system(&clock->bus); /* does not wait to be greeted */

    clock->reply = -EINPROGRESS;
    if (r >= 0)
        r = sd_bus_call_method_async(clock->bus, NULL, TIMEDATED, TIMEDATED_PATH,
                                     "org.freedesktop.DBus.Properties", "Get", on_reply, clock, "ss",
                                     TIMEDATED, "NTPSynchronized");
    if (r >= 0)
        r = event_add(clock->late, &patience) < 0 ? -ENOMEM : go_on(executor);
    return r;
}

/* ---- who wants to know */

/* Return: is it known now? */
static bool ask(struct executor *executor)
{
    struct clock *clock = &executor->clock;
    int r = executor->policy->requires_synchronised_clock ? time_is_synchronised() : 1;

    if (r >= 0) {
        clock->is_right = r > 0;
        on_known(executor);
        return true;
    }
    if (clock->bus)
        return false;
    if (time_boot_nsec() < clock->holds_until_nsec)
        return true;
    r = ask_timedated(executor);
    if (r == -EINPROGRESS)
        return false;
    take_answer(executor, r);
    return true;
}

int executor_open_clock(struct executor *executor, struct error *error)
{
    executor->clock.late = executor_event(executor, -1, 0, on_late, NULL);
    if (!executor->clock.late)
        return error_oom(error);
    ask(executor);
    return 0;
}

void executor_close_clock(struct executor *executor)
{
    struct clock *clock = &executor->clock;

    if (clock->late)
        hang_up(clock);
    for (size_t i = 0; i < clock->n_waiting; i++)
        close(clock->waiting[i].fd);
}

void executor_when_clock_known(struct executor *executor, struct message *message, executor_judge *judge)
{
    struct clock *clock = &executor->clock;

    if (ask(executor) || clock->n_waiting == ARRAY_SIZE(clock->waiting))
        judge(executor, message->fd);
    else
        clock->waiting[clock->n_waiting++] = (struct unjudged){TAKE_FD(message->fd), judge};
}
