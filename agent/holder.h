/* The holder: a process that is one fault, and whose death ends it. `grivetd --holder` runs nothing else. */
#pragma once

/** holder_main() - live the job on JOB_FD (see job.h). Return: exit code, 0 = reverted (or ended), 1 = failed
 */
int holder_main(void);
