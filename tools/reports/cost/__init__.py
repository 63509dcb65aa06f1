"""What every environment costs a month (`make cost`), and what a change of it adds (the pull-request report).

`pricing` knows how each type of resource is paid for, `prices` the price table and the assumptions, `bill` adds up, `levers`
synthesizes cheaper settings, `page` writes it down.
"""
