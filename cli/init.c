/* grivet init: a sample experiment that says what each line is for. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "common/document.h"
#include "common/io.h"

#define SAMPLE_HEAD                                                                                          \
    "# What is to happen, to whom, for how long, and what would be a success.\n"                             \
    "# Next: grivet plan %s -f mandate.json\n"                                                               \
    "schema: grivet.experiment/1\n"                                                                          \
    "name: %s\n"

static const char sample[] =
#include "sample.h" /* made from sample.yaml */
    ;

/* The experiment's name: that of the file, without folder and ending. */
static int take_name(const char *path, char ret[64], struct error *error)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;

    if (snprintf(ret, 64, "%.*s", (int)strcspn(base, "."), base) >= 64 || !node_name_is_valid(ret))
        return error_set(error, EBADRQC,
                         "'%s' names no experiment: a-z, 0-9 and _- please, such as zone-outage.yaml", path);
    return 0;
}

int command_init(const struct call *call, struct error *error)
{
    const char *path = call->arguments[0];
    _cleanup_free_ char *text = NULL;
    char name[64];
    int r;

    r = take_name(path, name, error);
    if (r < 0)
        return r;
    r = asprintf(&text, SAMPLE_HEAD "%s", path, name, sample);
    r = r < 0 ? error_oom(error) : io_write_new(path, text, r, 0644, error);
    if (r < 0)
        return r;
    if (call->is_json)
        return output_new_json(json_pack("{s:s, s:s}", "file", path, "experiment", name), error);
    printf("wrote %s\n", path);
    return EXIT_MET;
}
