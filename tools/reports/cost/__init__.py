"""The monthly cost of every environment (`./carmen cost`, docs/cost.md), and the difference that a change makes.

`pricing` knows how each resource type is billed, `prices` reads the price table and the assumptions, `bill` adds up, `savings`
synthesizes cheaper settings, and `page` formats the result.
"""
