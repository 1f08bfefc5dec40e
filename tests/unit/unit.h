/* What every unit test needs besides check: a main() in one line and a word for errors. */
#pragma once

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/error.h"

/** unit_run_within() - run @tests (ended by NULL) as one suite, each between @setup and @teardown. Return:
 * for main() */
static inline int unit_run_within(const char *name, const TTest *const *tests, void (*setup)(void),
                                  void (*teardown)(void))
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    SRunner *runner;
    int failed;

    if (setup)
        tcase_add_checked_fixture(tcase, setup, teardown);
    for (; *tests; tests++)
        tcase_add_test(tcase, *tests);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK); /* a debugger and the sanitizers see one process */
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static inline int unit_run(const char *name, const TTest *const *tests)
{
    return unit_run_within(name, tests, NULL, NULL);
}

/* The text of @error holds @part. */
#define assert_error(error, part)                                                                            \
    ck_assert_msg(strstr((error).text, part) != NULL, "expected \"%s\" in \"%s\"", part, (error).text)
