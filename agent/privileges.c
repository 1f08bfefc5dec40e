/* Capabilities and users: see privileges.h. */
#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <sys/capability.h>
#include <sys/prctl.h>

#include "common/passwd.h"

static int drop_bounding(uint64_t keep)
{
    for (cap_value_t capability = 0; capability < cap_max_bits(); capability++)
        if (!(keep >> capability & 1) && cap_get_bound(capability) == CAP_SET &&
            cap_drop_bound(capability) < 0)
            return -errno;
    return 0;
}

/* Return: 0, also where there is no such user */
static int become(const char *name, struct error *error)
{
    uid_t user;
    gid_t group;
    int r = geteuid() == 0 ? passwd_find(name, &user, &group, error) : -ESRCH;

    if (r < 0)
        return r == -ESRCH ? 0 : r;
    if (setgroups(0, NULL) < 0 || setresgid(group, group, group) < 0 || prctl(PR_SET_KEEPCAPS, 1) < 0 ||
        setresuid(user, user, user) < 0 || prctl(PR_SET_KEEPCAPS, 0) < 0)
        return error_errno(error, errno, "can't become user %s", name);
    return 0;
}

static int set_capabilities(uint64_t keep)
{
    cap_t capabilities = cap_init();
    int r = 0;

    if (!capabilities)
        return -errno;
    for (cap_value_t capability = 0; r == 0 && capability < cap_max_bits(); capability++)
        if ((keep >> capability & 1) &&
            (cap_set_flag(capabilities, CAP_PERMITTED, 1, &capability, CAP_SET) < 0 ||
             cap_set_flag(capabilities, CAP_EFFECTIVE, 1, &capability, CAP_SET) < 0))
            r = -errno;
    if (r == 0 && cap_set_proc(capabilities) < 0)
        r = -errno;
    cap_free(capabilities);
    return r;
}

int privileges_drop(const char *user, uint64_t capabilities, struct error *error)
{
    int r = 0;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || cap_reset_ambient() < 0)
        r = -errno;
    if (r == 0)
        r = drop_bounding(capabilities);
    if (r < 0)
        return error_errno(error, -r, "can't give up capabilities (is CAP_SETPCAP missing?)");
    r = become(user, error);
    if (r < 0)
        return r;
    r = set_capabilities(capabilities);
    return r < 0 ? error_errno(error, -r, "can't keep the capabilities of this fault") : 0;
}
