/* An envelope's JSON: what is accepted must be the same envelope when it is formatted and parsed again. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "common/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL, *again = NULL;
    _cleanup_free_ char *text = NULL;
    struct error error = {0};

    if (envelope_parse(&envelope, "fuzz", ENVELOPE_ORDER, data, size, &error) < 0)
        return 0;
    text = envelope_format(envelope);
    if (!text || envelope_parse(&again, "again", ENVELOPE_ORDER, text, strlen(text), &error) < 0 ||
        again->payload_length != envelope->payload_length ||
        memcmp(again->payload, envelope->payload, envelope->payload_length) != 0 ||
        again->n_signatures != envelope->n_signatures)
        abort();
    return 0;
}
