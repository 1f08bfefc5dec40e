/* HAProxy's words: statistics, log lines, and what its settings allow it. */
#include <string.h>

#include "coordinator/balancer.h"
#include "unit.h"

#define HEADER "# pxname,svname,status,check_status,check_rise,check_fall,addr,\n"

static struct balancer_fact facts[8];
static size_t n_facts;
static int64_t last_rise, last_fall;

static void each(void *context, const struct balancer_fact *fact, int64_t rise, int64_t fall)
{
    ck_assert_uint_lt(n_facts, 8);
    facts[n_facts++] = *fact;
    last_rise = rise;
    last_fall = fall;
}

START_TEST(test_stat)
{
    char text[] = HEADER "front,FRONTEND,OPEN,,,,,\n"
                         "web,s1,UP,L7OK,2,3,10.1.0.11:8080,\n"
                         "web,s2,DOWN 1/2,L4TOUT,2,3,[fd00:1::11]:8080,\n"
                         "web,s3,MAINT,\"a, \"\"b\"\"\",2,3,0.0.0.0:80,\n"
                         "other,s1,UP,L7OK,2,3,10.9.0.1:80,\n"
                         "web,BACKEND,UP,,,,,\n\n";

    n_facts = 0;
    ck_assert_int_eq(haproxy_parse_stat(text, "web", each, NULL, NULL), 0);
    ck_assert_uint_eq(n_facts, 3);
    ck_assert_str_eq(facts[0].server, "s1");
    ck_assert_str_eq(facts[0].state, "UP");
    ck_assert_str_eq(facts[0].address, "10.1.0.11");
    ck_assert_str_eq(facts[1].state, "DOWN");
    ck_assert_str_eq(facts[1].address, "fd00:1::11");
    ck_assert_str_eq(facts[2].state, "MAINT");
    ck_assert_str_eq(facts[2].address, "0.0.0.0");
    ck_assert_int_eq(last_rise, 2);
    ck_assert_int_eq(last_fall, 3);
}
END_TEST

START_TEST(test_stat_refused)
{
    struct error error;
    char without[] = "# pxname,svname,status,check_status,check_rise,check_fall,\nweb,s1,UP,L7OK,2,3,\n",
         empty[] = "";

    ck_assert_int_lt(haproxy_parse_stat(without, "web", each, NULL, &error), 0);
    ck_assert_str_eq(error.text, "show stat has no column addr");
    ck_assert_int_lt(haproxy_parse_stat(empty, "web", each, NULL, &error), 0);
}
END_TEST

START_TEST(test_log)
{
    struct balancer_fact fact;

    ck_assert(haproxy_parse_log(
        "<129>Nov 21 08:00:00 haproxy[9]: Server web/s1 is DOWN, reason: Layer4 timeout.\n", "web", &fact));
    ck_assert_str_eq(fact.server, "s1");
    ck_assert_str_eq(fact.state, "DOWN");
    ck_assert_str_eq(fact.text, "web/s1 is DOWN, reason: Layer4 timeout.");
    ck_assert(haproxy_parse_log("<13>x: Server web/s2 is UP, 1 active", "web", &fact));
    ck_assert_str_eq(fact.state, "UP");
    ck_assert(
        haproxy_parse_log("<13>x: Health check for server web/s1 failed, status: 1/2 UP.", "web", &fact));
    ck_assert_str_eq(fact.state, "check");
    ck_assert(!haproxy_parse_log("<13>x: Server webby/s1 is DOWN", "web", &fact));
    ck_assert(!haproxy_parse_log("<13>x: Proxy web started.", "web", &fact));
}
END_TEST

START_TEST(test_budget)
{
    struct balancer_budget budget = {};

    haproxy_budget(&budget, 500, 300, 2, 3);
    ck_assert_int_eq(budget.out_least_msec, 1300);
    ck_assert_int_eq(budget.out_most_msec, 1800);
    ck_assert_int_eq(budget.in_least_msec, 500);
    ck_assert_int_eq(budget.in_most_msec, 1300);
    haproxy_budget(&budget, 500, 500, 2, 2); /* eight outages of the lab were seen after 1.5 to 1.9 s */
    ck_assert_int_eq(budget.out_least_msec, 1500);
    ck_assert_int_eq(budget.out_most_msec, 2000);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_stat, test_stat_refused, test_log, test_budget, NULL};

    return unit_run("haproxy", tests);
}
