/* grivet report: of the newest run, of one by its id, or of a file that holds one. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/io.h"
#include "common/times.h"
#include "run.h"

#define REPORT_BYTES_MAX (64 << 20)

static int read_report(const char *path, json_t **ret, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    json_auto_t *report = NULL;
    json_error_t why;
    size_t length;
    int r;

    r = io_read_file(path, REPORT_BYTES_MAX, &text, &length, error);
    if (r < 0)
        return r;
    report = json_loadb(text, length, JSON_REJECT_DUPLICATES, &why);
    if (!report)
        return error_set(error, EINVAL, "%s:%d:%d: %s", path, why.line, why.column, why.text);
    json_make_printable(report);
    if (strcmp(json_text(report, "schema"), "grivet.report/1") != 0)
        return error_set(error, EINVAL, "%s:1:1: schema: expected grivet.report/1", path);
    *ret = json_incref(report);
    return 0;
}

/* Of the newest run without @run: the coordinator lists that first. */
static int fetch_report(const struct call *call, const char *run, json_t **ret, struct error *error)
{
    json_auto_t *runs = NULL;
    char path[128];
    int r;

    if (!run) {
        r = client_once(call, "GET", "/v1/runs", NULL, &runs, error);
        if (r < 0)
            return r;
        run = json_string_value(json_object_get(json_array_get(runs, 0), "run"));
        if (!run || !uuid_is_valid(run))
            return error_set(error, ENOENT, "there is no run yet; start one by `grivet run`");
    }
    snprintf(path, sizeof(path), "/v1/runs/%s/report", run);
    return client_once(call, "GET", path, NULL, ret, error);
}

int command_report(const struct call *call, struct error *error)
{
    const char *what = call->n_arguments ? call->arguments[0] : NULL;
    json_auto_t *report = NULL;
    int r;

    r = !what || uuid_is_valid(what) ? fetch_report(call, what, &report, error)
                                     : read_report(what, &report, error);
    if (r < 0)
        return r;
    if (call->is_json)
        return output_json(report);
    report_print(report);
    return EXIT_MET;
}
