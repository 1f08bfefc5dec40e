/* grivet report: of the newest run, of one by its id, or of a file that holds one. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "client.h"
#include "common/io.h"
#include "common/times.h"
#include "report.h"

#define REPORT_BYTES_MAX (64 << 20)

static int read_report(const char *path, json_t **ret, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    json_error_t why;
    size_t length;
    int r;

    r = io_read_file(path, REPORT_BYTES_MAX, &text, &length, error);
    if (r < 0)
        return r;
    *ret = json_loadb(text, length, JSON_REJECT_DUPLICATES, &why);
    if (!*ret)
        return error_set(error, EINVAL, "%s:%d:%d: %s", path, why.line, why.column, why.text);
    json_make_printable(*ret);
    if (strcmp(json_text(*ret, "schema"), "grivet.report/1") == 0)
        return 0;
    json_decref(*ret);
    return error_set(error, EINVAL, "%s:1:1: schema: expected grivet.report/1", path);
}

/* The coordinator lists the newest run first. */
static int find_newest(struct client *client, char ret[UUID_TEXT_MAX], struct error *error)
{
    json_t *runs;
    int r = client_call(client, "GET", "/v1/runs", NULL, NULL, 0, &runs, error);

    if (r < 0)
        return r;
    snprintf(ret, UUID_TEXT_MAX, "%s", json_text(json_array_get(runs, 0), "run"));
    json_decref(runs);
    return uuid_is_valid(ret) ? 0
                              : error_set(error, ENOENT, "there is no run yet; start one by `grivet run`");
}

static int fetch_report(const struct call *call, const char *run, json_t **ret, struct error *error)
{
    _cleanup_(client_freep) struct client *client = NULL;
    char newest[UUID_TEXT_MAX], path[128];
    int r;

    r = client_open(&client, call->config, error);
    if (r == 0 && !run)
        r = find_newest(client, newest, error);
    if (r < 0)
        return r;
    snprintf(path, sizeof(path), "/v1/runs/%s/report", run ? run : newest);
    return client_call(client, "GET", path, NULL, NULL, 0, ret, error);
}

int command_report(const struct call *call, struct error *error)
{
    const char *what = call->n_arguments ? call->arguments[0] : NULL;
    json_t *report;
    int r;

    r = !what || uuid_is_valid(what) ? fetch_report(call, what, &report, error)
                                     : read_report(what, &report, error);
    if (r < 0)
        return r;
    if (call->is_json)
        return output_json(report);
    report_print(report);
    json_decref(report);
    return EXIT_MET;
}
