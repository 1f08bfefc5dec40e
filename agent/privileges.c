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

static int become(const struct account *account)
{
    if (setgroups(0, NULL) < 0 || setresgid(account->gid, account->gid, account->gid) < 0 ||
        prctl(PR_SET_KEEPCAPS, 1) < 0 || setresuid(account->uid, account->uid, account->uid) < 0)
        return -errno;
    return prctl(PR_SET_KEEPCAPS, 0) < 0 ? -errno : 0;
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

int privileges_find(const char *user, struct account *ret, struct error *error)
{
    *ret = (struct account){0};
    return geteuid() == 0 ? passwd_find(user, &ret->uid, &ret->gid, error) : 0;
}

int privileges_bound(uint64_t capabilities, struct error *error)
{
    int r = drop_bounding(capabilities);

    return r < 0 ? error_errno(error, -r, "can't give up capabilities (is CAP_SETPCAP missing?)") : 0;
}

int privileges_drop(const struct account *account, uint64_t capabilities, struct error *error)
{
    int r = 0;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return error_errno(error, errno, "can't give up ambient capabilities");
    r = privileges_bound(capabilities, error);
    if (r < 0)
        return r;
    if (account->uid)
        r = become(account);
    if (r < 0)
        return error_errno(error, -r, "can't become user %d", (int)account->uid);
    r = set_capabilities(capabilities);
    return r < 0 ? error_errno(error, -r, "can't keep the capabilities of this fault") : 0;
}
