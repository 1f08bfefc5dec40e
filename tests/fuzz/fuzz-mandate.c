/* A mandate, a NUL and an order for it: whatever both say, the check of one against the other has to survive.
 */
#include "fuzz.h"

#include <string.h>

#include "common/mandate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(mandate_freep) struct mandate *mandate = NULL;
    _cleanup_(order_freep) struct order *order = NULL;
    const uint8_t *end = memchr(data, 0, size);
    struct error error = {0};
    size_t length = end ? (size_t)(end - data) : size;

    if (mandate_parse(&mandate, data, length, &error) < 0)
        return 0;
    for (size_t i = 0; i < mandate->n_steps; i++)
        mandate_step_length_usec(mandate, mandate->steps[i].name);
    if (!end || order_parse(&order, end + 1, size - length - 1, &error) < 0)
        return 0;
    memcpy(mandate->hash, order->mandate_hash, sizeof(mandate->hash)); /* which no fuzzer would guess */
    order_check(order, mandate, order->host, NULL, &error);
    order_check(order, mandate, "another", mandate->late_labels, &error);
    return 0;
}
