// Boost: lockfree::spsc_queue in memory of ours, and interprocess::message_queue by name.

#include "backoff.h"
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>
#include <cstddef>
#include <cstdint>
#include <new>

namespace {
using Ring = boost::lockfree::spsc_queue<std::uint64_t, boost::lockfree::capacity<COMPARE_RING>>;
namespace ipc = boost::interprocess;
} // namespace

extern "C" {

std::size_t compare_boost_ring_size() { return sizeof(Ring); }

void compare_boost_ring_make(void *at) { new (at) Ring; }

bool compare_boost_ring_try_push(void *at, std::uint64_t number) {
    return static_cast<Ring *>(at)->push(number);
}

bool compare_boost_ring_try_pop(void *at, std::uint64_t *number) {
    return static_cast<Ring *>(at)->pop(*number);
}

void compare_boost_ring_push_all(void *at, std::uint64_t number, std::uint64_t end) {
    Ring &ring = *static_cast<Ring *>(at);
    for (; number < end; number++) {
        unsigned step = 0;
        while (!ring.push(number)) {
            compare_snooze(&step);
        }
    }
}

std::uint64_t compare_boost_ring_pop_all(void *at, std::uint64_t count) {
    Ring &ring = *static_cast<Ring *>(at);
    std::uint64_t sum = 0;
    for (; count > 0; count--) {
        std::uint64_t number;
        unsigned step = 0;
        while (!ring.pop(number)) {
            compare_snooze(&step);
        }
        sum += number;
    }
    return sum;
}

// A queue of the name for `count` messages of up to `bytes`; null when there is none to be had.
void *compare_boost_queue_create(const char *name, std::size_t count, std::size_t bytes) {
    try {
        return new ipc::message_queue(ipc::create_only, name, count, bytes);
    } catch (...) {
        return nullptr;
    }
}

// The queue is gone.
void compare_boost_queue_remove(void *at, const char *name) {
    delete static_cast<ipc::message_queue *>(at);
    ipc::message_queue::remove(name);
}

// Both wait. They say whether it was done.
bool compare_boost_queue_send(void *at, const void *bytes, std::size_t count) {
    try {
        static_cast<ipc::message_queue *>(at)->send(bytes, count, 0);
        return true;
    } catch (...) {
        return false;
    }
}

bool compare_boost_queue_receive(void *at, void *bytes, std::size_t room) {
    try {
        ipc::message_queue::size_type received;
        unsigned priority;
        static_cast<ipc::message_queue *>(at)->receive(bytes, room, received, priority);
        return received == room;
    } catch (...) {
        return false;
    }
}
}
