/*
 * A fault is a descriptor: one const struct in one file of this folder, named in faults/meson.build, which
 * makes the registry. From its table of parameters come decoding with located errors and `grivet faults`.
 *
 * A fault runs in a holder, a process of its own whose death gives back what the fault is made of. A fault
 * says *what*; how the kernel does it, and how that is undone, is in kernel/.
 */
#pragma once

#include <errno.h>
#include <jansson.h>
#include <sys/types.h>

#include "common/mandate.h"
#include "common/record.h"
#include "kernel/undo.h"

enum fault_flags {
    FAULT_REVERSIBLE = 1 << 0,     /* has a rollback; without: ends at `exercised` */
    FAULT_SELF_EXERCISED = 1 << 1, /* can measure its own effect: not exercised is a failure */
};

/* What a fault is made of: names the system calls that its holder may make (agent/sandbox.c). */
enum fault_mechanism {
    MECHANISM_NETLINK = 1 << 0, /* gates, shapers, and the packets that try them */
    MECHANISM_PROCESS = 1 << 1, /* signals to others' processes */
    MECHANISM_BURNER = 1 << 2,  /* children of its own, which compute */
    MECHANISM_SETS = 1 << 3,    /* how many sets of them there are */
};

/* What verify() returns, negative, when somebody else has changed what the fault is made of; any other
 * failure means that it could not look. */
#define FAULT_CHANGED ESTALE  /* what is left is no more than was signed */
#define FAULT_HARMS   EUCLEAN /* more than was signed: undo it at once */

enum parameter_type {
    PARAMETER_INTEGER, /* int64_t, min..max */
    PARAMETER_STRING,  /* const char *, min..max bytes */
    PARAMETER_CHOICE,  /* int: index into @choices */
    PARAMETER_CIDRS,   /* struct parameter_cidrs: merged, no host bits; min..max entries */
    PARAMETER_PORTS,   /* struct parameter_ports: integers or "from-to", merged; min..max entries */
    PARAMETER_ZONE,    /* const char *: must be in the mandate's zone map */
    PARAMETER_REGEX,   /* const char *: a POSIX extended regular expression that compiles, min..max bytes */
    PARAMETER_USER,    /* struct parameter_user: a name, or a number */
};

struct parameter_cidrs {
    size_t count;
    struct cidr *cidrs;
};
struct port_range {
    uint16_t from, to; /* host order, inclusive */
};
struct parameter_ports {
    size_t count;
    struct port_range *ranges;
};
/** struct parameter_user - @name: to be looked up on the host; NULL = @id is it */
struct parameter_user {
    bool is_given;
    const char *name;
    uid_t id;
};

/**
 * struct fault_parameter - one row of a fault's table of parameters
 * @unit: "ms", "%", "packets"; NULL = none
 * @fallback: default as text in the form of the document ("both", "1"), NULL = required unless @is_optional
 * @choices: NULL-ended names, for PARAMETER_CHOICE
 * @offset: where it goes in the fault's own struct of parameters
 */
struct fault_parameter {
    const char *name;
    enum parameter_type type;
    const char *unit;
    int64_t min, max;
    const char *fallback;
    bool is_optional;
    const char *const *choices;
    const char *help;
    size_t offset;
};

/**
 * struct lifeline - what no network fault may cut, besides loopback, ARP, ND and DHCP
 * @courier_uid: outbound only this user reaches the coordinators
 * @coordinators: address and port; @resolvers, @time_servers: addresses, ports 53 and 123
 * @management: who may reach this host by SSH (@ssh_port)
 */
struct lifeline {
    uid_t courier_uid;
    size_t n_coordinators, n_resolvers, n_time_servers, n_management;
    struct endpoint coordinators[16];
    struct cidr resolvers[16], time_servers[16], management[32];
    uint16_t ssh_port;
};

/**
 * struct fault_host - the host as the policy describes it, for plan and inject; everything borrowed
 * @zone: the host's own zone id, NULL if it has none
 * @protected_processes: NULL-ended names (comm or exe base name) that are never killed
 * @protected_cidrs: never blocked
 */
struct fault_host {
    const char *name, *zone;
    const struct lifeline *lifeline;
    const char *const *protected_processes;
    const struct parameter_cidrs *protected_cidrs;
};

/**
 * struct fault_plan - what would change, in words; JSON arrays of strings owned by the plan
 * @summary: "drop what goes to 10.1.0.0/24 (TCP and UDP)"; @limits: what the fault can't reach here
 * @is_victim: the host itself is what fails (counted by expect.max_share_of_group_percent)
 */
struct fault_plan {
    json_t *summary, *limits;
    bool is_victim;
};

struct fault;

/**
 * struct fault_run - one fault under way in a holder
 * @order: order id; names of kernel objects derive from it (undo_object_name())
 * @parameters: the fault's own struct; @mandate: for its zones
 * @record, @record_fd: record_add_undo() before anything is made that a killed holder would leave
 * @state: the fault's own, made by inject()
 * @watch_fd: inject() may set it: readable when verify() should look at once, and takes what is there
 * @interference: what revert() found that somebody else had changed; code 0 = nothing
 */
struct fault_run {
    const struct fault *fault;
    const char *order;
    const void *parameters;
    const struct mandate *mandate;
    const struct fault_host *host;
    int64_t deadline_boot_nsec;
    struct record *record;
    int record_fd;
    void *state;
    int watch_fd;
    struct error interference;
};

/**
 * struct fault - the descriptor
 * @class: key of the policy's `classes`: "network", "process"
 * @mechanisms: bits of enum fault_mechanism
 * @capabilities: bits (1ULL << CAP_...) that the holder keeps
 * @slice: of systemd, in which the holder and what it forks get a scope of their own; NULL = the agent's own
 * slice
 * @supported: on this kernel? else why not (-EOPNOTSUPP with words); @parameters NULL = with all that the
 * fault can do; NULL = on every one
 * @check: pure, beyond the table; NULL = nothing more
 * @isolates: does it cut the lifeline? Then the policy has to allow that besides; NULL = never
 * @plan: read-only
 * @inject: make the effect; on failure nothing is left
 * @verify: read the kernel back, once it is made and each second; 0 = armed, see FAULT_CHANGED
 * @exercise: measure the effect with own traffic or by looking; adds to @effect; waits for nothing, since a
 * halt may come; 0 = exercised, -EAGAIN = not (yet), -EINPROGRESS = ask again in a moment, else failure
 * @measure: counters and findings so far into @effect; called before the undo and while running
 * @revert: undo; allocates nothing that can fail and writes no disk. What it finds changed on its way it
 * notes in @run, but nothing waits for a look
 * @verify_reverted: nothing with the names of run->order exists: also called by the executor after a holder's
 * death, with parameters and state NULL
 * @release: free @state
 */
struct fault {
    const char *name, *summary, *class;
    unsigned int flags, mechanisms;
    uint64_t capabilities;
    const struct fault_parameter *parameters; /* ended by a row without name */
    size_t parameters_size;
    const char *(*slice)(const void *parameters);
    int (*supported)(const void *parameters, struct error *error);
    int (*check)(const void *parameters, const struct mandate *mandate, struct error *error);
    bool (*isolates)(const void *parameters);
    int (*plan)(const void *parameters, const struct mandate *mandate, const struct fault_host *host,
                struct fault_plan *plan, struct error *error);
    int (*inject)(struct fault_run *run, struct error *error);
    int (*verify)(struct fault_run *run, struct error *error);
    int (*exercise)(struct fault_run *run, json_t *effect, struct error *error);
    int (*measure)(struct fault_run *run, json_t *effect, struct error *error);
    int (*revert)(struct fault_run *run, struct error *error);
    int (*verify_reverted)(const struct fault_run *run, struct error *error);
    void (*release)(struct fault_run *run);
};

/** fault_registry - every fault of this build, ended by NULL; made by faults/meson.build */
extern const struct fault *const fault_registry[];
const struct fault *fault_find(const char *name);

/**
 * fault_decode_parameters() - by the fault's table, with located errors
 * @ret: the fault's own struct, in the memory of @document, from which it borrows
 * @mandate: for zones; NULL = zones are not looked up
 * Calls fault->check() too.
 */
int fault_decode_parameters(const struct fault *fault, const struct document *document,
                            const struct node *node, const struct mandate *mandate, const void **ret,
                            struct error *error);
