/* grivet wait-ready: at boot, wait until a running fault for this host is in force; what boots next sees it.
 */
#include <stdio.h>

#include "cli.h"
#include "executor.h"

/* The executor may start later than we do; asking again costs nothing, and it answers when it knows. */
int command_wait_ready(const struct call *call, struct error *error)
{
    int64_t timeout_sec;
    json_t *answer;
    bool is_ready;
    int r;

    r = call_integer(call, "timeout-s", 1, 3600, 15, &timeout_sec, error);
    if (r == 0)
        r = executor_ask(CHANNEL_WAIT_READY, CHANNEL_READY, timeout_sec * 1000, &answer, error);
    if (r < 0)
        return r;
    is_ready = json_is_true(json_object_get(answer, "is_ready"));
    if (call->is_json)
        return output_json(answer), is_ready ? EXIT_MET : EXIT_ERROR;
    printf("%s after %lld ms%s%s\n", is_ready ? "ready" : "NOT ready",
           json_integer_value(json_object_get(answer, "waited_ms")), is_ready ? "" : ": ",
           is_ready ? "" : json_text(answer, "reason"));
    json_decref(answer);
    return is_ready ? EXIT_MET : EXIT_ERROR;
}
