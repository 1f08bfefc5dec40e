/* The registry, names of kernel objects, and parameters by table: good forms, and refused ones with their
 * place. */
#include "unit.h"

#include <errno.h>

#include "faults/fault.h"

static struct cidr zone_cidr = {AF_INET, 8, {10}};
static struct zone zones[] = {{"az1", 1, &zone_cidr}};
static const struct mandate mandate = {.n_zones = 1, .zones = zones};

static int decode(const char *fault, const char *json, struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    const struct fault *found = fault_find(fault);
    const void *parameters = NULL;
    int r;

    ck_assert_ptr_nonnull(found);
    ck_assert_int_eq(document_parse_json(&document, "job", json, strlen(json), error), 0);
    r = fault_decode_parameters(found, document, document_root(document), &mandate, &parameters, error);
    ck_assert((r == 0) == (parameters != NULL));
    return r;
}

START_TEST(finds_what_is_registered)
{
    ck_assert_str_eq(fault_find("zone.block")->name, "zone.block");
    ck_assert_ptr_null(fault_find("zone"));
    ck_assert_ptr_null(fault_find(""));
    for (const struct fault *const *fault = fault_registry; *fault; fault++) {
        ck_assert((*fault)->plan && (*fault)->inject && (*fault)->exercise && (*fault)->measure);
        ck_assert(!((*fault)->flags & FAULT_REVERSIBLE) || ((*fault)->revert && (*fault)->verify_reverted));
        for (const struct fault_parameter *row = (*fault)->parameters; row->name; row++)
            ck_assert(row->help && row->offset < (*fault)->parameters_size);
    }
}
END_TEST

START_TEST(names_objects_by_the_order)
{
    char name[UNDO_NAME_MAX];

    ck_assert_str_eq(undo_object_name("01900000-0000-7000-8000-0123456789ab", name), "grivet-0123456789ab");
    ck_assert_str_eq(undo_object_name("abc", name), "grivet-abc");
}
END_TEST

START_TEST(accepts)
{
    static const char *const good[][2] = {
        {"network.block", "{\"cidrs\": [\"10.0.0.0/8\", \"::/0\"]}"},
        {"network.block",
         "{\"cidrs\": [\"10.0.0.1\"], \"ports\": [80, \"1-65535\", 443], \"protocol\": \"tcp\"}"},
        {"zone.block", "{\"zone\": \"az1\"}"},
        {"network.shape",
         "{\"cidrs\": [\"::/0\"], \"rate_kbit\": 9, \"direction\": \"out\", \"cgroup\": \"a.service\"}"},
        {"zone.block", "{\"zone\": \"az1\", \"isolate\": \"full\"}"},
        {"process.kill", "{\"exe\": \"/usr/sbin/*\"}"},
        {"process.kill", "{\"user\": \"_chrony\"}"},
        {"process.kill", "{\"user\": 0, \"listens_on\": 65535, \"pick\": \"percent\", \"percent\": 100}"},
        {"process.kill", "{\"unit\": \"getty@tty1.service\"}"},
        {"process.kill", "{\"cmdline\": \"^a(b|c)$\", \"pick\": \"n\", \"count\": 3, \"signal\": \"TERM\"}"},
    };
    struct error error = {0};

    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        ck_assert_msg(decode(good[i][0], good[i][1], &error) == 0, "%s: %s", good[i][1], error.text);
}
END_TEST

static void assert_refused(const char *const bad[][3], size_t count)
{
    struct error error;

    for (size_t i = 0; i < count; i++) {
        error = (struct error){0};
        ck_assert_msg(decode(bad[i][0], bad[i][1], &error) == -EINVAL, "accepted: %s", bad[i][1]);
        assert_error(error, bad[i][2]);
        assert_error(error, "job:1:");
    }
}

START_TEST(refuses_packets_with_the_place)
{
    static const char *const bad[][3] = {
        {"network.block", "{}", "network.block needs 'cidrs'"},
        {"network.block", "[]", "expected a map of parameters"},
        {"network.block", "{\"cidrs\": []}", "cidrs: 0 entries; expected at least 1"},
        {"network.block", "{\"cidrs\": \"10.0.0.0/8\"}", "cidrs: expected a list, got a string"},
        {"network.block", "{\"cidrs\": [\"10.0.0.0/8\", 7]}", "cidrs[1]: expected a string, got an integer"},
        {"network.block", "{\"cidrs\": [\"10.0.0.1/8\"]}", "cidrs[0]: '10.0.0.1/8' has host bits set"},
        {"network.block", "{\"cidrs\": [\"::/0\"], \"port\": [1]}",
         "port: unknown parameter of network.block"},
        {"network.block", "{\"cidrs\": [\"::/0\"], \"ports\": [0]}", "ports[0]: expected a port"},
        {"network.block", "{\"cidrs\": [\"::/0\"], \"ports\": [65536]}", "ports[0]: expected a port"},
        {"network.block", "{\"cidrs\": [\"::/0\"], \"ports\": [\"9-8\"]}", "ports[0]: expected a port"},
        {"network.block", "{\"cidrs\": [\"::/0\"], \"ports\": [\"8-9x\"]}", "ports[0]: expected a port"},
        {"network.block", "{\"cidrs\": [\"::/0\"], \"ports\": [\"-8-9\"]}", "ports[0]: expected a port"},
        {"network.block", "{\"cidrs\": [\"::/0\"], \"protocol\": \"sctp\"}", "expected one of any, tcp, udp"},
        {"network.block", "{\"cidrs\": [\"::/0\"], \"cgroup\": \"\"}",
         "cgroup: 0 bytes long; expected 1 to 255"},
        {"network.shape", "{\"cidrs\": [\"::/0\"], \"rate_kbit\": 9, \"cgroup\": \"a\"}",
         "give direction: out"},
        {"zone.block", "{\"zone\": \"az1\", \"isolate\": true}", "isolate: expected a string"},
        {"zone.block", "{\"zone\": \"az1\", \"isolate\": \"all\"}", "isolate: expected one of none, full"},
        {"zone.block", "{\"zone\": \"az1\", \"isolate\": \"full\", \"cgroup\": \"a\"}",
         "leave cgroup out, or it"},
        {"network.block", "{\"cidrs\": [\"::/0\"], \"isolate\": \"full\", \"cgroup\": \"a\"}",
         "leave cgroup out, or it"},
        {"network.shape", "{\"cidrs\": [\"::/0\"], \"delay_ms\": 1, \"isolate\": \"full\"}",
         "isolate: unknown parameter of network.shape"},
        {"zone.block", "{\"zone\": \"az9\"}", "zone: unknown zone 'az9'"},
        {"zone.block", "{\"zone\": 1}", "zone: expected a string, got an integer"},
    };

    assert_refused(bad, ARRAY_SIZE(bad));
}
END_TEST

START_TEST(refuses_processes_with_the_place)
{
    static const char *const bad[][3] = {
        {"process.kill", "{}", "process.kill needs exe, cmdline, cgroup, unit, user or listens_on"},
        {"process.kill", "{\"exe\": \"nginx\"}", "begin it with / or *"},
        {"process.kill", "{\"exe\": \"\"}", "exe: 0 bytes long; expected 1 to 255"},
        {"process.kill", "{\"cmdline\": \"\"}", "cmdline: 0 bytes long; expected 1 to 256"},
        {"process.kill", "{\"cmdline\": \"a(\"}", "cmdline: not a regular expression"},
        {"process.kill", "{\"exe\": \"/a\", \"signal\": \"STOP\"}", "expected one of KILL, TERM, INT, HUP"},
        {"process.kill", "{\"exe\": \"/a\", \"pick\": \"n\"}", "count (1 to 500) belongs to"},
        {"process.kill", "{\"exe\": \"/a\", \"count\": 2}", "count (1 to 500) belongs to"},
        {"process.kill", "{\"exe\": \"/a\", \"pick\": \"percent\"}", "percent (1 to 100) belongs to"},
        {"process.kill", "{\"exe\": \"/a\", \"percent\": 20}", "percent (1 to 100) belongs to"},
        {"process.kill", "{\"exe\": \"/a\", \"pick\": \"percent\", \"percent\": 20, \"count\": 1}",
         "count (1 to 500) belongs to"},
        {"process.kill", "{\"exe\": \"/a\", \"pick\": \"percent\", \"percent\": 101}",
         "percent: 101 is out of range; expected 0 to 100"},
        {"process.kill", "{\"listens_on\": 0}", "listens_on: 0 is out of range; expected 1 to 65535"},
        {"process.kill", "{\"listens_on\": \"80\"}", "listens_on: expected an integer, got a string"},
        {"process.kill", "{\"user\": -1}", "user: expected a user's name, or a number"},
        {"process.kill", "{\"user\": 4294967295}", "user: expected a user's name, or a number"},
        {"process.kill", "{\"user\": \"33\"}", "user: expected a user's name, or a number"},
        {"process.kill", "{\"user\": \"\"}", "user: expected a user's name, or a number"},
        {"process.kill", "{\"user\": \"a:b\"}", "user: expected a user's name, or a number"},
        {"process.kill", "{\"user\": [1]}", "user: expected a user's name, or a number"},
        {"process.kill", "{\"unit\": \"nginx\"}", "unit: expected a unit's whole name"},
        {"process.kill", "{\"unit\": \"system.slice/nginx.service\"}", "unit: expected a unit's whole name"},
        {"process.kill", "{\"unit\": \"a.service\", \"cgroup\": \"a.service\"}", "give one of them"},
        {"process.kill", "{\"exe\": \"/a\", \"pick\": \"n\", \"count\": 501}",
         "count: 501 is out of range; expected 0 to 500"},
    };

    assert_refused(bad, ARRAY_SIZE(bad));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {finds_what_is_registered,       names_objects_by_the_order,       accepts,
                                  refuses_packets_with_the_place, refuses_processes_with_the_place, NULL};

    return unit_run("parameters", tests);
}
