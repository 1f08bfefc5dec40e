/* Which burners are kept from running, and which only wait or rest. */
#include "unit.h"

#include "faults/kernel/burner-progress.h"

#define LOOKS_MAX 8
#define MS        1000000LL

/* One look: ms that have passed, that the burner had, that its CPU had left over. */
struct look {
    int64_t passed, used, idle;
};

struct history {
    const char *name;
    int load_percent;
    bool is_yielding;
    struct look looks[LOOKS_MAX];
    int kept_at; /* the look that finds it, from 1; 0 = none */
};

static int run(const struct history *history)
{
    struct burner_progress progress = {0};
    int64_t used = 0, idle = 0;

    for (int i = 0; i < LOOKS_MAX && history->looks[i].passed; i++) {
        const struct look *look = &history->looks[i];

        used += look->used * MS;
        idle += look->idle * MS;
        if (burner_progress_look(&progress, look->passed * MS, used, idle, history->load_percent,
                                 history->is_yielding))
            return i + 1;
    }
    return 0;
}

static const struct history histories[] = {
    {"frozen", 20, false, {{1000, 200, 800}, {1000, 0, 1000}, {1000, 0, 1000}, {1000, 0, 1000}}, 4},
    {"frozen, on a busy CPU", 20, false, {{1000, 0, 0}, {1000, 0, 0}, {1000, 0, 0}}, 3},
    {"the least quota", 20, true, {{1000, 1, 999}, {1000, 1, 999}, {1000, 1, 999}}, 3},
    {"the least quota, found by a holder that has the same",
     20,
     false,
     {{3000, 3, 2990}, {2500, 2, 2490}, {4000, 4, 3990}},
     3},
    {"the least quota, and a service that leaves some",
     100,
     false,
     {{1000, 1, 600}, {1000, 1, 500}, {1000, 1, 700}},
     3},
    {"at once", 1, false, {{1000, 10, 990}, {1000, 10, 990}, {1000, 10, 990}, {1000, 10, 990}}, 0},
    {"yields", 80, true, {{1000, 0, 0}, {1000, 0, 0}, {1000, 0, 0}, {1000, 0, 0}, {1000, 0, 100}}, 0},
    {"a hundredth beside a heavy rival",
     100,
     false,
     {{1000, 10, 0}, {1000, 10, 0}, {1000, 10, 0}, {1000, 1, 0}},
     0},
    {"two looks",
     20,
     false,
     {{1000, 0, 900}, {1000, 0, 900}, {1000, 200, 800}, {1000, 0, 900}, {1000, 0, 900}},
     0},
    {"a suspend",
     20,
     false,
     {{1000, 200, 800}, {60000, 5, 20}, {60000, 5, 20}, {60000, 5, 20}, {1000, 200, 800}},
     0},
    {"rests from what it had too much",
     1,
     false,
     {{1000, 500, 500}, {1000, 0, 999}, {1000, 0, 999}, {1000, 0, 999}, {1000, 0, 999}},
     0},
};

START_TEST(tells_who_is_kept_from_running)
{
    for (size_t i = 0; i < ARRAY_SIZE(histories); i++)
        ck_assert_msg(run(&histories[i]) == histories[i].kept_at, "%s: found at %d", histories[i].name,
                      run(&histories[i]));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {tells_who_is_kept_from_running, NULL};

    return unit_run("burner-progress", tests);
}
