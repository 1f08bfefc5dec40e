/* Times in JSON documents: see coordinator.h. */
#include "coordinator.h"

json_t *json_time(int64_t usec)
{
    char text[TIME_TEXT_MAX];

    return json_string(time_format(usec, text));
}
