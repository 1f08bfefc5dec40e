/* Ends of cgroups' paths. */
#include "unit.h"

#include "faults/kernel/cgroup.h"

START_TEST(tells_ends_of_paths)
{
    static const struct {
        const char *path, *suffix;
        bool is_end;
    } cases[] = {
        {"/system.slice/nginx.service", "nginx.service", true},
        {"/system.slice/nginx.service", "/nginx.service", true},
        {"/system.slice/nginx.service", "system.slice/nginx.service", true},
        {"/system.slice/nginx.service", "/system.slice/nginx.service", true},
        {"/system.slice/nginx.service", "x.service", false},
        {"/system.slice/nginx.service", "/a/system.slice/nginx.service", false},
        {"/system.slice/nginx.service/worker", "nginx.service", false},
        {"0::/nginx.service", "nginx.service", true},
        {"/", "nginx.service", false},
        {"", "nginx.service", false},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        ck_assert_msg(cgroup_path_ends(cases[i].path, cases[i].suffix) == cases[i].is_end, "%s, %s",
                      cases[i].path, cases[i].suffix);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {tells_ends_of_paths, NULL};

    return unit_run("cgroup", tests);
}
