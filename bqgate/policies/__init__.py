"""Keep the rules that hold now: what the settings say, below what admins changed.

    values.py         the types of single values: dollars, shares, whole numbers, time zones, addresses, data
    models.py         tiers, customers and prices as documents, for the settings file and the admin API alike
    budget_models.py  budgets, schedules and raises as documents
    messages.py       what pydantic finds wrong with them, in words for whoever wrote them
    faults.py         what is wrong, and where
    rules.py, budget_rules.py  what only shows when several of them are looked at together
    increases.py      raises told apart, found again, ended
    budgets.py        budget documents → budgets of the domain
    prices.py         a pricing document and the tables of list prices → PriceList
    compose.py        documents → CustomerRegistry and PriceList
    book.py           PolicyBook: the present PolicySnapshot and keys, looked after in the background
    editor.py         PolicyEditor: one admin's change, checked whole before it is written

The rule that decides: a tier, customer, budget or price list that an admin wrote is what the database says, whole;
every other is what the settings file says; deleting an admin's brings the file's back.
"""
