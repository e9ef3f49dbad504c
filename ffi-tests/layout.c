/* The option structs have these sizes and offsets (64-bit); compiled as C11. */
#include <mpshm.h>

#define AT(type, field, offset) _Static_assert(offsetof(type, field) == (offset), #type "." #field)

_Static_assert(sizeof(mpshm_segment_options_t) == 32, "mpshm_segment_options_t");
AT(mpshm_segment_options_t, struct_size, 0);
AT(mpshm_segment_options_t, flags, 8);
AT(mpshm_segment_options_t, participants, 16);
AT(mpshm_segment_options_t, objects, 20);
AT(mpshm_segment_options_t, mode, 24);
AT(mpshm_segment_options_t, group, 28);
_Static_assert(sizeof(mpshm_queue_options_t) == 192, "mpshm_queue_options_t");
AT(mpshm_queue_options_t, struct_size, 0);
AT(mpshm_queue_options_t, flags, 8);
AT(mpshm_queue_options_t, capacity, 16);
AT(mpshm_queue_options_t, item_size, 24);
AT(mpshm_queue_options_t, item_align, 32);
AT(mpshm_queue_options_t, message_max, 40);
AT(mpshm_queue_options_t, type_code, 48);
AT(mpshm_queue_options_t, message_align, 52);
AT(mpshm_queue_options_t, leases, 56);
AT(mpshm_queue_options_t, producers, 60);
AT(mpshm_queue_options_t, blocks, 64);
_Static_assert(sizeof(mpshm_queue_blocks_t) == 16, "mpshm_queue_blocks_t");
AT(mpshm_queue_blocks_t, bytes, 0);
AT(mpshm_queue_blocks_t, count, 8);
_Static_assert(sizeof(mpshm_queue_counters_t) == 64, "mpshm_queue_counters_t");
AT(mpshm_queue_counters_t, struct_size, 0);
AT(mpshm_queue_counters_t, pushed, 8);
AT(mpshm_queue_counters_t, popped, 16);
AT(mpshm_queue_counters_t, overwritten, 24);
AT(mpshm_queue_counters_t, redelivered, 32);
AT(mpshm_queue_counters_t, dropped, 40);
AT(mpshm_queue_counters_t, waits, 48);
AT(mpshm_queue_counters_t, repairs, 56);
_Static_assert(sizeof(mpshm_latest_options_t) == 24, "mpshm_latest_options_t");
AT(mpshm_latest_options_t, struct_size, 0);
AT(mpshm_latest_options_t, flags, 8);
AT(mpshm_latest_options_t, readers, 16);
AT(mpshm_latest_options_t, writers, 20);
_Static_assert(sizeof(mpshm_ring_options_t) == 48, "mpshm_ring_options_t");
AT(mpshm_ring_options_t, struct_size, 0);
AT(mpshm_ring_options_t, flags, 8);
AT(mpshm_ring_options_t, capacity, 16);
AT(mpshm_ring_options_t, item_size, 24);
AT(mpshm_ring_options_t, item_align, 32);
AT(mpshm_ring_options_t, type_code, 40);
AT(mpshm_ring_options_t, reserved, 44);
_Static_assert(sizeof(mpshm_process_options_t) == 88, "mpshm_process_options_t");
AT(mpshm_process_options_t, struct_size, 0);
AT(mpshm_process_options_t, flags, 8);
AT(mpshm_process_options_t, name, 16);
AT(mpshm_process_options_t, cpus, 24);
AT(mpshm_process_options_t, cpu_count, 32);
AT(mpshm_process_options_t, nice, 40);
AT(mpshm_process_options_t, group, 44);
AT(mpshm_process_options_t, stdin_fd, 48);
AT(mpshm_process_options_t, stdout_fd, 52);
AT(mpshm_process_options_t, stderr_fd, 56);
AT(mpshm_process_options_t, reserved, 60);
AT(mpshm_process_options_t, environment, 64);
AT(mpshm_process_options_t, segments, 72);
AT(mpshm_process_options_t, segment_count, 80);
_Static_assert(sizeof(mpshm_process_segment_t) == 16, "mpshm_process_segment_t");
AT(mpshm_process_segment_t, label, 0);
AT(mpshm_process_segment_t, segment, 8);
_Static_assert(sizeof(mpshm_pool_options_t) == 32, "mpshm_pool_options_t");
AT(mpshm_pool_options_t, struct_size, 0);
AT(mpshm_pool_options_t, flags, 8);
AT(mpshm_pool_options_t, queue, 16);
AT(mpshm_pool_options_t, message_max, 24);
_Static_assert(sizeof(mpshm_semaphore_options_t) == 32, "mpshm_semaphore_options_t");
AT(mpshm_semaphore_options_t, struct_size, 0);
AT(mpshm_semaphore_options_t, flags, 8);
AT(mpshm_semaphore_options_t, initial, 16);
AT(mpshm_semaphore_options_t, bound, 24);

int main(void) { return 0; }
