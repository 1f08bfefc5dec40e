/* grivet hosts: who is a member. */
#include "client.h"

int command_hosts(const struct call *call, struct error *error)
{
    static const struct column columns[] = {{"HOST", "host"},
                                            {"CONTACT", "is_in_contact", format_wanted},
                                            {"SUSPECT", "is_suspect", format_unwanted},
                                            {"SEEN", "last_seen", format_time},
                                            {"ADDRESS", "address"},
                                            {"CLOCK MS", "clock", format_clock},
                                            {"LABELS", "labels"},
                                            {}};

    return client_list(call, "/v1/hosts", columns, error);
}
