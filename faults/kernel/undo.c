/* Undoing by name: a table of kinds. See undo.h. Allocates nothing but what listing a folder takes. */
#include "undo.h"

#include <errno.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <string.h>

#include "common/io.h"
#include "common/own-process.h"
#include "link.h"
#include "nft.h"

#define STRAYS_MAX    64
#define OBJECT_DIGITS 12
#define LINK_DIGITS   7
#define LINK_ENDS     "oipq" /* what is shaped out and in, and the two ends of a probe's wire */

/**
 * struct undo_kind - how to end one kind of thing
 * @undo: 0 also when it is gone already; @is_done: 1, 0 or -errno
 * @is_led_to: rules of a step behind it in the record may send packets there, which would be lost if it went
 * first
 */
struct undo_kind {
    const char *name;
    int (*undo)(const char *argument, struct error *error);
    int (*is_done)(const char *argument, struct error *error);
    bool is_led_to;
};

static const char *last_digits(const char *order, size_t count)
{
    size_t length = strlen(order);

    return order + (length > count ? length - count : 0);
}

const char *undo_object_name(const char *order, char ret[UNDO_NAME_MAX])
{
    snprintf(ret, UNDO_NAME_MAX, UNDO_NAME_PREFIX "%s", last_digits(order, OBJECT_DIGITS));
    return ret;
}

const char *undo_link_name(const char *order, char direction, char ret[UNDO_LINK_MAX])
{
    snprintf(ret, UNDO_LINK_MAX, UNDO_NAME_PREFIX "%s%c", last_digits(order, LINK_DIGITS), direction);
    return ret;
}

void undo_guess(struct record *record)
{
    char name[UNDO_NAME_MAX], link[UNDO_LINK_MAX], burner[OWN_NAME_MAX], argument[UNDO_NAME_MAX + 8];

    for (const char *direction = LINK_ENDS; *direction; direction++)
        record_add_undo(record, -1, "link", undo_link_name(record->order, *direction, link), NULL);
    record_add_undo(record, -1, "burners", own_burner_name(record->order, burner), NULL);
    undo_object_name(record->order, name);
    for (size_t i = 0; i < NFT_FAMILIES; i++) {
        snprintf(argument, sizeof(argument), "%s %s", nft_families[i].name, name);
        record_add_undo(record, -1, "nft-table", argument, NULL);
    }
}

/* A table of ours. */
struct table {
    uint8_t family;
    const char *name;
};

/* "inet grivet-0190abcd", "netdev grivet-0190abcd". A name that is not ours is refused, whatever the record
 * says. */
static int parse_table(const char *argument, struct table *ret, struct error *error)
{
    for (size_t i = 0; i < NFT_FAMILIES; i++) {
        size_t length = strlen(nft_families[i].name);

        *ret = (struct table){nft_families[i].number, argument + length + 1};
        if (strncmp(argument, nft_families[i].name, length) == 0 && argument[length] == ' ' &&
            strncmp(ret->name, UNDO_NAME_PREFIX, strlen(UNDO_NAME_PREFIX)) == 0)
            return 0;
    }
    return error_set(error, EINVAL, "nft-table '%s' is no table of ours (inet or netdev, %s...)", argument,
                     UNDO_NAME_PREFIX);
}

/* Return: 1 it is there, 0 it is not, -errno. @ret_fd: the caller's to close, also after a failure */
static int table_look(const char *argument, int *ret_fd, struct table *ret, struct error *error)
{
    int r = parse_table(argument, ret, error);

    if (r < 0)
        return r;
    *ret_fd = nft_open(error);
    return *ret_fd < 0 ? *ret_fd : nft_read_table(*ret_fd, ret->family, ret->name, NULL, error);
}

static int table_undo(const char *argument, struct error *error)
{
    uint8_t bytes[512] __attribute__((aligned(8)));
    _cleanup_close_ int fd = -1;
    struct nft_batch batch;
    struct table table;
    int r = table_look(argument, &fd, &table, error);

    if (r != 1)
        return r;
    nft_batch_begin(&batch, bytes, sizeof(bytes));
    nft_drop_table(&batch, table.family, table.name);
    nft_batch_end(&batch);
    return nft_commit(fd, &batch, error);
}

static int table_is_done(const char *argument, struct error *error)
{
    _cleanup_close_ int fd = -1;
    struct table table;
    int r = table_look(argument, &fd, &table, error);

    return r < 0 ? r : !r;
}

static int link_is_done(const char *argument, struct error *error)
{
    int r = link_find(argument, error);

    return r < 0 ? r : !r;
}

static int check_burners(const char *argument, struct error *error)
{
    return own_is_burner_name(argument) ? 0
                                        : error_set(error, EINVAL, "burners '%s' are none of ours (%s...)",
                                                    argument, OWN_BURNER_PREFIX);
}

static int burners_undo(const char *argument, struct error *error)
{
    int r = check_burners(argument, error);

    return r < 0 ? r : own_burners_kill(argument, error);
}

static int burners_are_done(const char *argument, struct error *error)
{
    int r = check_burners(argument, error);

    if (r == 0)
        r = own_burners_count(argument, error);
    return r < 0 ? r : !r;
}

static const struct undo_kind kinds[] = {
    {"nft-table", table_undo, table_is_done},
    {"link", link_remove, link_is_done, true},
    {"burners", burners_undo, burners_are_done},
};

static const struct undo_kind *find_kind(const struct undo *undo, struct error *error)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (strcmp(kinds[i].name, undo->kind) == 0)
            return &kinds[i];
    error_set(error, EINVAL, "unknown kind of undo step '%s'", undo->kind);
    return NULL;
}

/* Returns the first failure. */
static int undo_one(const struct undo *undo, int first, struct error *error)
{
    struct error words = {0};
    const struct undo_kind *kind = find_kind(undo, &words);
    int r;

    if (first < 0 && kind && kind->is_led_to)
        return first;
    r = kind ? kind->undo(undo->argument, &words) : -EINVAL;

    if (r < 0 && first == 0 && error)
        *error = words;
    return first ? first : r;
}

int undo_all(const struct record *record, struct error *error)
{
    int first = 0;

    for (size_t i = record->n_undos; i-- > 0;)
        first = undo_one(&record->undos[i], first, error);
    return first;
}

int undo_is_done(const struct record *record, struct error *error)
{
    for (size_t i = 0; i < record->n_undos; i++) {
        const struct undo_kind *kind = find_kind(&record->undos[i], error);
        int r = kind ? kind->is_done(record->undos[i].argument, error) : -EINVAL;

        if (r != 1)
            return r;
    }
    return 1;
}

/* A name of exactly the shape that undo_object_name() and undo_link_name() give. */
static bool is_ours(const char *name, size_t digits, const char *ends)
{
    const char *rest = name + strlen(UNDO_NAME_PREFIX);

    if (strncmp(name, UNDO_NAME_PREFIX, strlen(UNDO_NAME_PREFIX)) ||
        strspn(rest, "0123456789abcdef") != digits)
        return false;
    return *ends ? rest[digits] && strchr(ends, rest[digits]) && !rest[digits + 1] : !rest[digits];
}

bool undo_is_link_name(const char *name, const char *ends)
{
    return is_ours(name, LINK_DIGITS, ends);
}

/* What bears our names, as undo steps; one without a kind has been explained by a record. */
struct strays {
    size_t count;
    struct undo undos[STRAYS_MAX];
};

static void add_stray(struct strays *strays, const char *kind, const char *family, const char *name)
{
    struct undo *undo = &strays->undos[strays->count];

    if (strays->count == STRAYS_MAX)
        return;
    snprintf(undo->kind, sizeof(undo->kind), "%s", kind);
    snprintf(undo->argument, sizeof(undo->argument), "%s%s%.80s", family, *family ? " " : "", name);
    strays->count++;
}

static int on_table(const struct nlmsghdr *message, void *context)
{
    const struct nfgenmsg *general = nlmsg_data(message);
    struct nlattr *attributes[NFTA_TABLE_MAX + 1];
    struct strays *strays = context;

    if (nlmsg_parse((struct nlmsghdr *)message, sizeof(*general), attributes, NFTA_TABLE_MAX, NULL) < 0 ||
        !attributes[NFTA_TABLE_NAME])
        return -EPROTO;
    for (size_t i = 0; i < NFT_FAMILIES; i++)
        if (general->nfgen_family == nft_families[i].number &&
            is_ours(nla_get_string(attributes[NFTA_TABLE_NAME]), OBJECT_DIGITS, ""))
            add_stray(strays, "nft-table", nft_families[i].name, nla_get_string(attributes[NFTA_TABLE_NAME]));
    return 0;
}

static int add_links(struct strays *strays, struct error *error)
{
    struct if_nameindex *list = if_nameindex();

    if (!list)
        return error_errno(error, errno, "can't list network devices");
    for (const struct if_nameindex *link = list; link->if_index; link++)
        if (undo_is_link_name(link->if_name, LINK_ENDS))
            add_stray(strays, "link", "", link->if_name);
    if_freenameindex(list);
    return 0;
}

static int add_tables(struct strays *strays, struct error *error)
{
    _cleanup_close_ int fd = nft_open(error);
    int r = fd;

    while (fd >= 0 && (r = nft_read(fd, NFT_MSG_GETTABLE, NLM_F_DUMP, NFPROTO_UNSPEC, NULL, NULL, on_table,
                                    strays, error)) == -EAGAIN)
        strays->count = 0;
    return r;
}

struct explanation {
    struct strays *strays;
    int folder_fd;
};

static void forget_explained(void *context, const char *name)
{
    const struct explanation *by = context;
    struct strays *strays = by->strays;
    struct record record;

    if (name[0] == '.' || record_read(&record, by->folder_fd, name, NULL) < 0)
        return;
    for (size_t i = 0; i < record.n_undos; i++)
        for (size_t k = 0; k < strays->count; k++)
            if (strcmp(strays->undos[k].kind, record.undos[i].kind) == 0 &&
                strcmp(strays->undos[k].argument, record.undos[i].argument) == 0)
                strays->undos[k].kind[0] = '\0';
}

/* Objects first, records second: whoever makes one has written its record before. Tables go first: a rule
 * that leads to a device that is gone loses packets. */
int undo_find_strays(int folder_fd, size_t *ret_count, struct error *error)
{
    struct strays strays = {0};
    struct explanation by = {&strays, folder_fd};
    int r = add_tables(&strays, error), first = 0;

    if (r == 0)
        r = add_links(&strays, error);
    if (r == 0)
        r = io_list(folder_fd, ".", forget_explained, &by, error);
    if (r < 0)
        return r;
    *ret_count = 0;
    for (size_t i = 0; i < strays.count; i++) {
        if (!strays.undos[i].kind[0])
            continue;
        ++*ret_count;
        first = undo_one(&strays.undos[i], first, error);
    }
    return first;
}
